use super::*;
use crate::calls::watched::{Unflushed, watch};
use quorate_base::NodeId;

const MEMTABLE: u64 = 64 << 10;

/// A state in a directory of its own, with small memtables.
fn open(name: &str) -> (std::path::PathBuf, LsmState) {
    let dir = std::env::temp_dir().join(format!("quorate-lsm-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let identity = Identity { cluster: 5, node: NodeId(1) };
    let options = Options { memtable_bytes: MEMTABLE, table_bytes: 256 << 10, ..Options::default() };
    let layout = Layout::new(&dir, identity, options.end_bytes);
    layout.generations().unwrap();
    (dir, LsmStore { layout, options }.opened(None).unwrap())
}

fn fill(state: &mut LsmState, round: u32) {
    for n in 0..2_000_u32 {
        state.put(&n.to_be_bytes(), &[round as u8; 100]);
    }
}

fn in_memory(state: &LsmState) -> u64 {
    state.shared.tree.get_version_history_lock().memtable_size_sum()
}

#[test]
fn a_lasting_view_reads_its_moment_and_holds_no_memory() {
    let (dir, mut state) = open("lasting");
    let mut upkeep = state.upkeep().unwrap();
    fill(&mut state, 0);
    let view = state.view().lasting();
    for round in 1..30 {
        fill(&mut state, round);
        while upkeep.step().unwrap() {}
    }
    assert!(in_memory(&state) < 4 * MEMTABLE, "{} bytes", in_memory(&state));
    let all: Vec<_> = view.scan((Bound::Unbounded, Bound::Unbounded)).map(Result::unwrap).collect();
    assert!(all.len() == 2_000 && all.iter().all(|(_, value)| value[..] == [0; 100]));
    assert_eq!(view.get(&7_u32.to_be_bytes()).unwrap().unwrap()[..], [0; 100]);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Nothing replaces a view while one entry is applied, however much it writes.
#[test]
fn a_view_that_stays_reads_its_moment_and_holds_no_memory() {
    let (dir, mut state) = open("stays");
    fill(&mut state, 0);
    let (view, twin) = (state.view(), state.view());
    let begun = view.scan((Bound::Unbounded, Bound::Unbounded));
    for round in 1..60 {
        fill(&mut state, round);
        assert!(in_memory(&state) < 24 * MEMTABLE, "round {round}: {} bytes", in_memory(&state));
    }
    assert_eq!(begun.filter(|pair| pair.as_ref().unwrap().1[..] == [0; 100]).count(), 2_000);
    let all = |view: &Arc<dyn View>| -> Vec<_> {
        view.scan((Bound::Unbounded, Bound::Unbounded)).map(Result::unwrap).collect()
    };
    let (first, lasting) = (all(&view), view.lasting());
    assert!(first.len() == 2_000 && first.iter().all(|(_, value)| value[..] == [0; 100]));
    assert_eq!((all(&lasting), all(&twin)), (first.clone(), first.clone()));
    let back = view.scan_back((Bound::Unbounded, Bound::Unbounded)).map(Result::unwrap);
    assert!(back.eq(first.into_iter().rev()));
    assert_eq!(view.get(&7_u32.to_be_bytes()).unwrap().unwrap()[..], [0; 100]);
    drop((view, lasting, twin));
    assert_eq!(lock(&state.shared.views).lowest(), None);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_was_merged_goes_once_no_view_sees_it() {
    let (dir, mut state) = open("graves");
    let mut upkeep = state.upkeep().unwrap();
    let files =
        |state: &LsmState| std::fs::read_dir(state.shared.layout.live().join("tables")).unwrap().count();
    fill(&mut state, 0);
    while upkeep.step().unwrap() {}
    let view = state.view();
    for round in 1..30 {
        fill(&mut state, round);
        while upkeep.step().unwrap() {}
    }
    let live = |state: &LsmState| state.shared.tree.current_version().iter_tables().count();
    assert!(files(&state) > live(&state));
    assert_eq!(view.get(&7_u32.to_be_bytes()).unwrap().unwrap()[..], [0; 100]);
    drop(view);
    while upkeep.step().unwrap() {}
    assert_eq!(files(&state), live(&state));
    assert!(in_memory(&state) < 2 * MEMTABLE, "{} bytes", in_memory(&state));
    drop(state);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn memtables_are_flushed_in_their_order() {
    let (dir, mut state) = open("order");
    for round in 0..3 {
        fill(&mut state, round);
        state.shared.rotate();
    }
    assert!(state.shared.tree.sealed_memtable_count() > 1);
    state.shared.flush().unwrap();
    assert_eq!(state.shared.tree.sealed_memtable_count(), 0);
    assert_eq!(state.get(&7_u32.to_be_bytes()).unwrap().unwrap()[..], [2; 100]);
    drop(state);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The background thread does nothing, as if it were merging tables all the while.
#[test]
fn a_checkpoint_that_waits_holds_no_memory_and_is_one_cut() {
    let (dir, mut state) = open("waits");
    fill(&mut state, 0);
    let job = state.seal().unwrap();
    for round in 1..30 {
        fill(&mut state, round);
        assert!(in_memory(&state) < 8 * MEMTABLE, "round {round}: {} bytes", in_memory(&state));
    }
    job.run(1).unwrap();
    let (layout, options) = (state.shared.layout.clone(), state.shared.options);
    drop(state);
    let state = LsmStore { layout, options }.opened(Some(1)).unwrap();
    let all: Vec<_> = state.scan((Bound::Unbounded, Bound::Unbounded)).map(Result::unwrap).collect();
    assert!(all.len() == 2_000 && all.iter().all(|(_, value)| value[..] == [0; 100]));
    drop((all, state));
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Nothing of what was done may be lost to a power cut, or be there by half.
fn is_durable(unflushed: &Unflushed) {
    let Unflushed { names, bytes, halves, calls } = unflushed;
    assert!(names.is_empty() && bytes.is_empty() && halves.is_empty(), "{names:?} {bytes:?} {halves:?}");
    assert!(*calls > 3, "{calls} calls were seen");
}

/// Claim: a checkpoint whose work has returned is durable, with all its names, and its list was so before it had its name; so is the
/// word that a state failed a read, and the name under which it was set aside.
#[test]
fn a_checkpoint_that_returned_has_left_nothing_unflushed() {
    let (dir, mut state) = open("durable");
    for generation in 1..4 {
        fill(&mut state, generation as u32);
        let job = state.seal().unwrap();
        let (done, unflushed) = watch(|| job.run(generation));
        done.unwrap();
        is_durable(&unflushed);
        assert!(unflushed.calls > 15, "{} calls were seen", unflushed.calls);
    }
    let layout = state.shared.layout.clone();
    drop(state);
    is_durable(&watch(|| layout.condemn("a read failed").unwrap()).1);
    let (aside, unflushed) = watch(|| layout.set_aside().unwrap().unwrap());
    is_durable(&unflushed);
    std::fs::remove_dir_all(aside).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
