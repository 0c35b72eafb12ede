//! Old revisions at the end of a run: what is compacted is refused by every node, and what is not is told as it was.

use super::{Run, point};
use quorate_base::NodeId;
use quorate_base::time::Duration;
use quorate_node::api::{WatchCreate, WatchMessage, WatchRequest, WatchStream};
use quorate_state::kv::{KvView, ReadError};
use quorate_wire::kv::{KeyRange, Range, Refused, Revision};

/// So often it is looked for what a watch is told.
const PATIENCE: u32 = 2_000;

/// A watch that looks back.
struct Look {
    node: NodeId,
    from: Revision,
    stream: Box<dyn WatchStream>,
    messages: Vec<WatchMessage>,
    /// What that comes to, and of what: so many messages, the newest revision and the compacted one.
    says: Result<(), String>,
    judged: Option<(usize, Revision, Revision)>,
}

impl Run {
    /// Every node refuses what is compacted, and a watch at each is told what it asks for, or that it is compacted.
    pub(super) fn final_revisions(&mut self) -> Result<(), String> {
        if self.compaction.is_none() {
            return Ok(());
        }
        let members: Vec<NodeId> = self.world.members().nodes().into_iter().collect();
        let mut looks = Vec::new();
        for node in members {
            let Some(view) = self.world.view(node) else { continue };
            let compacted = view.compacted();
            old_reads(view).map_err(|why| format!("Compaction: node {node}: {why}"))?;
            for from in [compacted - 1, compacted, compacted + 1] {
                let Some((_, mut stream)) = self.world.watch(node).filter(|_| from > 1) else { continue };
                let range = KeyRange { key: vec![0].into(), end: vec![0].into() };
                stream.request(WatchRequest::Create(WatchCreate {
                    range,
                    start: from,
                    ..WatchCreate::default()
                }));
                looks.push(Look { node, from, stream, messages: Vec::new(), says: Ok(()), judged: None });
            }
        }
        // History is read in batches, each when the messages of the one before were taken.
        let mut says = Ok(());
        for _ in 0..PATIENCE {
            let end = self.world.now + Duration::from_millis(50);
            self.until(end, |_| false)?;
            says = looks.iter_mut().try_for_each(|look| self.look(look));
            if says.is_ok() {
                break;
            }
        }
        says
    }

    /// Takes what a watch is told, and judges it, unless nothing is new.
    fn look(&self, look: &mut Look) -> Result<(), String> {
        let Some(view) = self.world.view(look.node) else { return Ok(()) };
        while let Some(message) = look.stream.poll() {
            look.messages.push(message);
        }
        let of = Some((look.messages.len(), view.revision(), view.compacted()));
        if std::mem::replace(&mut look.judged, of) != of {
            let (node, from) = (look.node, look.from);
            look.says = told(&look.messages, from, view)
                .map_err(|why| format!("Compaction: a watch at node {node} from {from}: {why}"));
        }
        look.says.clone()
    }
}

fn old_reads(view: &KvView) -> Result<(), String> {
    let compacted = view.compacted();
    let read = |revision| view.range(&Range { range: point(0), revision, ..Range::default() });
    if compacted > 1 {
        match read(compacted - 1) {
            Err(ReadError::Refused(Refused::Compacted { revision })) if revision == compacted => {}
            other => return Err(format!("a read below the compacted revision {compacted} gave {other:?}")),
        }
    }
    if compacted > 0 {
        read(compacted)
            .map_err(|why| format!("a read at the compacted revision {compacted} gave {why:?}"))?;
    }
    Ok(())
}

/// What a watch from `from` was told, against what is there. It looks at all keys, so each revision must come.
fn told(messages: &[WatchMessage], from: Revision, view: &KvView) -> Result<(), String> {
    let compacted = view.compacted();
    let canceled = messages.iter().find(|message| message.canceled);
    if from < compacted {
        return match canceled {
            Some(message) if message.compact_revision == compacted => Ok(()),
            other => Err(format!("{compacted} is compacted, and it was told {other:?}")),
        };
    }
    if let Some(message) = canceled {
        return Err(format!("it was canceled: {} ({})", message.reason, message.compact_revision));
    }
    let mut next = from;
    for event in messages.iter().flat_map(|message| &message.events) {
        let at = event.kv.mod_revision;
        if at != next && at + 1 != next {
            return Err(format!("it was told revision {at}, and waits for {next}"));
        }
        next = at + 1;
    }
    if next == view.revision() + 1 { Ok(()) } else { Err(format!("it still waits for revision {next}")) }
}
