//! `quorate verify` on real processes: a run and its report, what it leaves behind however it ends, and truths that are known
//! of other systems, which it must find. Where a system is not installed its tests say so and pass.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use crate::common::{Scratch, eventually, output, quorate};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Stdio};

/// Runs it; exit code and all that it said.
fn verify(scratch: &Scratch, report: &str, more: &[&str]) -> (i32, String) {
    let folder = scratch.path(report);
    let mut all = vec!["verify", "--report", &folder];
    all.extend(more);
    let (code, stdout, stderr) = output(&all);
    (code, format!("{stdout}{stderr}"))
}

#[test]
fn a_run_holds_and_its_report_can_be_judged_again() {
    let scratch = Scratch::new("verify-run");
    let run = [
        "--workload",
        "register,table-append",
        "--nemesis",
        "kill,pause",
        "--time",
        "8s",
        "--seed",
        "1",
        "--clients",
        "3",
    ];
    let (code, said) = verify(&scratch, "r", &run);
    assert_eq!(code, 0, "{said}");
    for part in [
        "holds",
        "linearizable",
        "strict-serializable",
        "sent again",
        "replicas agree",
        "processes killed",
        "processes stopped",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let folder = scratch.path("r");
    let page = std::fs::read_to_string(Path::new(&folder).join("index.html")).unwrap();
    assert!(
        page.contains("class='fault kill'") && !page.contains("http://"),
        "the faults are shaded, nothing is fetched"
    );
    assert!(
        !Path::new(&folder).join("data").exists(),
        "the data of a run in which nothing was found are gone"
    );
    let (code, again, _) = output(&["verify", "--recheck", &folder]);
    assert_eq!(code, 0, "{again}");
    // Our checker reads both forms.
    for form in ["jsonl", "edn"] {
        let file = Path::new(&folder).join(format!("history-register.{form}"));
        let (code, said, wrong) = output(&["check", file.to_str().unwrap(), "--model", "cas-register"]);
        assert_eq!(code, 0, "{form}: {said}{wrong}");
    }
    // A read of what nobody wrote.
    let file = Path::new(&folder).join("history-register.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let read = text.lines().rfind(|line| line.contains(r#""type":"ok","f":"read""#)).unwrap();
    let mut event: serde_json::Value = serde_json::from_str(read).unwrap();
    event["value"] = 424_242.into();
    std::fs::write(&file, text.replace(read, &event.to_string())).unwrap();
    let (code, again, _) = output(&["verify", "--recheck", &folder]);
    assert_eq!(code, 1, "{again}");
    assert!(again.contains("violated  register") && again.contains("424242"), "{again}");
    // One that was cut shows less than was seen.
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&file, lines[..lines.len() / 2].join("\n") + "\n").unwrap();
    let (code, _, wrong) = output(&["verify", "--recheck", &folder]);
    assert_eq!(code, 3, "{wrong}");
    assert!(wrong.contains("history-register.jsonl") && wrong.contains("it was cut"), "{wrong}");
}

/// A node that kills itself once, as soon as the last reads have begun: what is damaged may be read for the first time then.
#[test]
fn a_node_that_ends_at_the_last_reads_is_told_and_started_again() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("verify-end");
    let (seen, done) = (scratch.path("r/clients/append-last-n1.jsonl"), scratch.path("done"));
    let node = scratch.path("node");
    let words = format!(
        "#!/bin/sh\n[ \"$1\" != serve ] || (while [ ! -e '{seen}' ]; do sleep 0.02; done; mkdir '{done}' && kill -9 $$) 2>/dev/null &\n\
         exec '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_quorate")
    );
    std::fs::write(&node, words).unwrap();
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run =
        ["--binary", &node, "--workload", "append", "--nemesis", "pause", "--time", "6s", "--clients", "3"];
    let (code, said) = verify(&scratch, "r", &run);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nodes stay up: node") && said.contains("ended: signal 9"), "{said}");
    assert!(!said.contains("did not succeed"), "its last reads wait for it: {said}");
    let agree = said.lines().find(|line| line.contains("replicas agree")).unwrap();
    assert!(agree.starts_with("holds"), "{agree}");
}

/// Transactions over the shards of a table, while nodes are killed and paused: strictly serializable, no half of a transfer, nothing
/// that replicas do not agree on in the end, and in the change feed every write once.
#[test]
fn transactions_over_shards_hold_while_nodes_are_killed() {
    let scratch = Scratch::new("verify-shards");
    let run = [
        "--workload",
        "table-append,table-bank,table-register,table-stream",
        "--shards",
        "4",
        "--nemesis",
        "kill,pause",
        "--time",
        "12s",
        "--seed",
        "3",
        "--clients",
        "3",
    ];
    let (code, said) = verify(&scratch, "r", &run);
    assert_eq!(code, 0, "{said}");
    for part in ["strict-serializable", "processes killed", "replicas agree", "stream: once"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_with_3_and_a_hint() {
    let scratch = Scratch::new("verify-bad");
    std::fs::create_dir(scratch.path("full")).unwrap();
    std::fs::write(scratch.path("full/x"), "").unwrap();
    for (report, more, word) in [
        ("a", &["--workload", "nonsense"][..], "no workload is called nonsense"),
        ("b", &["--nemesis", "nonsense"], "no nemesis is called nonsense"),
        ("b", &["--nemesis", "none,kill"], "--nemesis none stands alone"),
        ("b", &["--nemesis", "pause,all"], "--nemesis all stands alone"),
        ("c", &["--target", "nonsense"], "no target is called nonsense"),
        ("d", &["--binary", "/nowhere/quorate"], "is no program"),
        ("d", &["--binary", "/etc/passwd"], "cannot be run"),
        ("d", &["--binary", "/bin/true"], "is not quorate"),
        ("e", &["--workload", "set,set"], "twice"),
        ("f", &["--isolation", "serializable"], "one isolation"),
        ("h", &["--pids", "1,2", "--endpoints", "http://127.0.0.1:1"], "2 pids and 1 endpoints"),
        ("i", &["--pids", "999999999", "--endpoints", "http://127.0.0.1:1"], "no process has the number"),
        ("full", &[], "is not empty"),
        ("g", &["--time", "never"], "is no time"),
    ] {
        let (code, said) = verify(&scratch, report, more);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(word), "{word}: {said}");
        assert!(!said.contains("report in"), "nothing is begun: {said}");
    }
    // This is no build that fails by order, which its nodes tell; nothing is left, so that the corrected command may name the same folder.
    let (code, said) = verify(&scratch, "p", &["--nemesis", "power-loss"]);
    assert!(code == 3 && said.contains("features faults"), "{said}");
    assert!(!Path::new(&scratch.path("p")).exists());
    let (code, said, _) = output(&["verify", "--list"]);
    assert_eq!(code, 0);
    assert!(
        ["register", "partition", "etcd", "linearizable"].iter().all(|name| said.contains(name)),
        "{said}"
    );
}

/// A run that goes on until it is ended.
fn endless(scratch: &Scratch, more: &[&str]) -> (Child, String) {
    let folder = scratch.path("r");
    let args = [
        "verify",
        "--report",
        &folder,
        "--nemesis",
        "pause",
        "--time",
        "10m",
        "--seed",
        "2",
        "--clients",
        "2",
    ];
    let run =
        quorate(&[&args[..], more].concat()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // A node is stopped: that one would not notice that its starter is gone.
    eventually("a node is paused", || stopped(&folder));
    (run, folder)
}

/// The processes that a run has written down.
fn standing(folder: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(Path::new(folder).join("standing.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter_map(|line| Some(line.get("process")?["pid"].as_u64()? as u32)).collect()
}

fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}

fn stopped(folder: &str) -> bool {
    standing(folder).into_iter().any(|pid| state(pid) == Some('T'))
}

fn nothing_stands(folder: &str) {
    eventually("all processes are gone", || standing(folder).into_iter().all(|pid| state(pid).is_none()));
    eventually("the data are gone", || !Path::new(folder).join("data").exists());
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    let scratch = Scratch::new("verify-int");
    let (mut run, folder) = endless(&scratch, &[]);
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(2));
    nothing_stands(&folder);
}

#[test]
fn nothing_is_left_after_kill_9() {
    let scratch = Scratch::new("verify-kill");
    let (mut run, folder) = endless(&scratch, &[]);
    run.kill().unwrap();
    run.wait().unwrap();
    nothing_stands(&folder);
    let (code, said, _) = output(&["verify", "--heal", &folder]);
    assert_eq!((code, said.trim()), (0, "nothing was left"));
}

/// A server that is killed leaves its shared memory to whoever starts it again; of a run nobody does.
#[test]
fn nothing_is_left_of_postgres_after_kill_9() {
    if !has_postgres() {
        return;
    }
    let scratch = Scratch::new("verify-kill-pg");
    let (mut run, folder) = endless(&scratch, &["--target", "postgres", "--workload", "append"]);
    let mut nodes = std::fs::read_dir(Path::new(&folder).join("data")).unwrap();
    let data = nodes.next().unwrap().unwrap().path();
    let note = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let segment: Vec<&str> = note.lines().nth(6).unwrap_or_default().split_ascii_whitespace().collect();
    let stands = || {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
        let is_it = |row: &str| row.split_ascii_whitespace().take(2).eq(segment.iter().copied());
        table.lines().any(is_it)
    };
    let stood = stands();
    let within = std::fs::read_dir(data.join("pg_dynshmem")).map_or(0, Iterator::count);
    run.kill().unwrap();
    run.wait().unwrap();
    nothing_stands(&folder);
    assert!(stood && !stands(), "{note}");
    assert!(within > 0, "what is shared besides lies in its own directory, and not in /dev/shm");
}

#[test]
fn a_system_that_runs_is_paused_and_left_as_it_was() {
    let scratch = Scratch::new("verify-pids");
    let up = crate::common::Up::start(&["--data", &scratch.path("data")]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap();
    let of = |field: &str| -> Vec<String> {
        nodes.iter().map(|node| node[field].to_string().trim_matches('"').to_string()).collect()
    };
    let (pids, endpoints) = (of("pid").join(","), of("etcd").join(","));
    let mine = ["kv", "put", "verify/mine", "1", "--endpoints", &endpoints];
    assert_eq!(output(&mine).0, 0);
    let running = ["--pids", &pids, "--endpoints", &endpoints];
    let (code, said) =
        verify(&scratch, "k", &running.into_iter().chain(["--nemesis", "kill"]).collect::<Vec<_>>());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("cannot be undone"), "{said}");
    let more = ["--workload", "register,watch,predicate", "--time", "6s", "--seed", "7", "--clients", "2"];
    let (code, said) = verify(&scratch, "r", &running.into_iter().chain(more).collect::<Vec<_>>());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("processes stopped") && said.contains("replicas agree"), "{said}");
    let (_, keys, _) = output(&["kv", "get", "", "--prefix", "--endpoints", &endpoints]);
    assert!(keys.contains("verify/mine") && keys.lines().count() <= 2, "{keys}");
    for pid in pids.split(',') {
        assert!(state(pid.parse().unwrap()).is_some_and(|state| state != 'T'), "node {pid} does not go on");
    }
}

// ---- known truths ----

fn has_etcd() -> bool {
    let has = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("etcd").is_file()));
    if !has {
        eprintln!("skipped: there is no etcd here");
    }
    has
}

fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let has = versions.into_iter().any(|version| version.path().join("bin/initdb").is_file());
    if !has {
        eprintln!("skipped: there is no PostgreSQL here");
    }
    has
}

/// A holder of a lock that is paused beyond its lease.
fn paused_holder(name: &str, target: &str, workload: &str) -> (i32, String) {
    let scratch = Scratch::new(name);
    let run =
        ["--target", target, "--workload", workload, "--nemesis", "pause", "--time", "20s", "--seed", "3"];
    let (code, said) = verify(&scratch, "r", &run);
    assert!(said.contains("processes stopped"), "{said}");
    (code, said)
}

#[test]
fn a_bare_lock_of_quorate_is_broken_by_a_pause() {
    let (code, said) = paused_holder("verify-lock", "quorate", "lock");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("violated  lock       mutual exclusion"), "{said}");
}

#[test]
fn a_fenced_lock_of_quorate_holds() {
    let (code, said) = paused_holder("verify-fence", "quorate", "lock-fenced");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("two held at once 0 times"), "the pause did what it should: {said}");
}

#[test]
fn a_bare_lock_of_etcd_is_broken_by_a_pause() {
    if !has_etcd() {
        return;
    }
    let (code, said) = paused_holder("verify-etcd-lock", "etcd", "lock");
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_guarded_lock_of_etcd_holds() {
    if !has_etcd() {
        return;
    }
    let (code, said) = paused_holder("verify-etcd-guard", "etcd", "lock-guarded");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("two held at once 0 times"), "the pause did what it should: {said}");
}

/// Serializable reads of etcd while a member is cut off, which answers from its state of long ago: a client that asks everyone goes
/// back for certain.
fn stale_reads_of_etcd(name: &str, more: &[&str]) -> (i32, String) {
    let scratch = Scratch::new(name);
    let run = ["--target", "etcd", "--workload", "stale", "--nemesis", "partition", "--time", "15s"];
    let all = [&run[..], &["--seed", "4", "--rate", "100"], more].concat();
    verify(&scratch, "r", &all)
}

#[test]
fn serializable_reads_of_etcd_are_not_linearizable_and_go_back() {
    if !has_etcd() {
        return;
    }
    let (code, said) = stale_reads_of_etcd("verify-etcd-stale", &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("violated  stale      linearizable"), "{said}");
    assert!(said.contains("violated  stale      monotonic-reads"), "{said}");
}

#[test]
fn serializable_reads_of_etcd_do_not_go_back_where_a_client_stays_at_one_member() {
    if !has_etcd() {
        return;
    }
    let (code, said) = stale_reads_of_etcd("verify-etcd-pinned", &["--pinned"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("violated  stale      linearizable"), "{said}");
    assert!(said.contains("holds     stale      monotonic-reads"), "{said}");
    assert!(!said.contains("violated  stale      sequential"), "{said}");
}

/// A run on PostgreSQL with nothing broken.
fn on_postgres(scratch: &Scratch, workload: &str, rate: &str, isolation: &str) -> (i32, String) {
    let how =
        ["--target", "postgres", "--workload", workload, "--nemesis", "none", "--time", "8s", "--seed", "5"];
    let all: Vec<&str> = how.into_iter().chain(["--rate", rate, "--isolation", isolation]).collect();
    verify(scratch, &format!("{workload}-{isolation}"), &all)
}

#[test]
fn postgres_shows_write_skew_at_repeatable_read_and_none_at_serializable() {
    if !has_postgres() {
        return;
    }
    let scratch = Scratch::new("verify-postgres");
    let (code, said) = on_postgres(&scratch, "append", "300", "repeatable-read");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("G2-item") || said.contains("G2Item"), "{said}");
    let (code, said) = on_postgres(&scratch, "append", "300", "serializable");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn postgres_shows_phantoms_at_repeatable_read_and_none_at_serializable() {
    if !has_postgres() {
        return;
    }
    let scratch = Scratch::new("verify-phantoms");
    let (code, said) = on_postgres(&scratch, "predicate", "200", "repeatable-read");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("met: G2-predicate"), "{said}");
    let (code, said) = on_postgres(&scratch, "predicate", "200", "serializable");
    assert_eq!(code, 0, "{said}");
    let (code, said) = on_postgres(&scratch, "bank", "200", "read-committed");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("violated  bank"), "{said}");
}

#[test]
fn postgres_keeps_its_promises_when_it_is_killed_and_paused() {
    if !has_postgres() {
        return;
    }
    let scratch = Scratch::new("verify-postgres-kill");
    let run = ["--target", "postgres", "--workload", "register,set,bank,ids,predicate,append"];
    let more = ["--nemesis", "kill,pause", "--time", "15s", "--seed", "6", "--clients", "2"];
    let (code, said) = verify(&scratch, "r", &run.into_iter().chain(more).collect::<Vec<_>>());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("processes killed") && said.contains("processes stopped"), "{said}");
}
