//! What there is: workloads, nemeses, targets and checks, each with a paragraph that teaches. The one table of what works on
//! what stands here; `--list` prints it, and a plan is held to it.

use crate::plan::{BadPlan, Plan};
use std::fmt::Write as _;

/// Something that can be chosen.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is, why it is there, and what it has shown elsewhere.
    pub about: &'static str,
    /// What its effect is counted in; empty but for nemeses.
    unit: &'static str,
    /// What it works on, target by target, in the order of [`TARGETS`]; empty: works.
    on: [&'static str; 3],
}

const WORKS: [&str; 3] = ["", "", ""];
const TABLES: [&str; 3] = ["", "no tables", "no such door"];
const MANY_NODES: [&str; 3] = ["", "", "one node"];

/// The systems.
pub const TARGETS: [(&str, &str); 3] = [
    (
        "quorate",
        "Three nodes of the running program itself, or of --binary. Peers and clients pass through proxies, so that every \
         link can be cut. Nodes keep their data under the report, and flush to the real disk.",
    ),
    (
        "etcd",
        "Three members of etcd (Debian: etcd-server), started as the other is. It makes the promises that Quorate's door \
         makes, so that a workload that finds fault with both is wrong itself, and one that finds fault with neither may be \
         blind.",
    ),
    (
        "postgres",
        "One PostgreSQL server (Debian: postgresql), made anew, run as `nobody` where this is run as root. Its isolation levels \
         are the best-known ones, so it shows whether the checks of transactions see what they should: write skew at \
         --isolation repeatable-read, nothing at serializable.",
    ),
];

/// What clients do.
pub const WORKLOADS: [Entry; 16] = [
    Entry {
        name: "append",
        about: "Transactions append unique elements to lists and read whole lists, of which the order of all of them is inferred \
                (Elle). It has a name for whatever goes wrong between transactions: dirty and aborted reads, lost updates, write \
                skew (G2-item). On etcd's door a transaction reads at one revision and writes if all is as it was.",
        unit: "",
        on: WORKS,
    },
    Entry {
        name: "predicate",
        about: "Transactions read ranges of rows, and insert and delete rows in them. What a range did not hold is part of \
                what was read: two that read the same gap and each fill it cannot stand in an order (phantoms, write skew over a \
                predicate). No read of single rows shows that. On etcd's door a comparison over the range asks whether it is as \
                it was.",
        unit: "",
        on: WORKS,
    },
    Entry {
        name: "register",
        about: "Reads, writes, deletions and compare-and-sets on a few keys. It shows stale reads, lost updates \
                and writes that come back from the dead. A compare-and-set that is answered `no` tells as much as \
                a read. Keys are given up for new ones all the time, so that absent keys are read too.",
        unit: "",
        on: WORKS,
    },
    Entry {
        name: "set",
        about: "Unique elements are added, the whole set is read. It needs no search: an element that was \
                confirmed and is missing was lost, one that nobody can have added is a phantom. It finds what a \
                register hides, since nothing is ever written over.",
        unit: "",
        on: WORKS,
    },
    Entry {
        name: "ids",
        about: "Asks for unique ids: the revision that a write is given. Two leaders at once would give one twice; \
                a leader that forgot would give a smaller one.",
        unit: "",
        on: WORKS,
    },
    Entry {
        name: "bank",
        about: "Money is moved between accounts by transactions, and all accounts are read at once: the sum never \
                changes. It shows half-done transactions, lost updates, and reads of two moments.",
        unit: "",
        on: WORKS,
    },
    Entry {
        name: "watch",
        about: "Half of the clients write, the others watch, each watch going on where the last one ended, at \
                another node after an error. Held against what the writers were told, and against each other, by \
                etcd's names of what a watch promises.",
        unit: "",
        on: ["", "", "no watches"],
    },
    Entry {
        name: "lease",
        about: "Keys under leases that nobody keeps alive are read until they are gone: not before the lease's \
                time is over, counted from before it was asked for, but some day. Leaders that change often are \
                what leases suffer from.",
        unit: "",
        on: ["", "", "no leases"],
    },
    Entry {
        name: "lock",
        about: "Each client takes a lock made of a lease, reads what it protects, thinks, writes, gives the lock \
                back. A client that is paused beyond its lease (`pause` does that here) wakes up, believes that it \
                holds, and writes over what its successor wrote. This one is bare, and broken on every system: a \
                lease alone is no mutual exclusion (Kleppmann, 2016).",
        unit: "",
        on: ["", "", "no leases"],
    },
    Entry {
        name: "lock-guarded",
        about: "The same, but the write is a transaction that asks whether the lock's key is still the one that \
                this client created. That is etcd's answer, and it holds, for what lies in the same store.",
        unit: "",
        on: ["", "", "no leases"],
    },
    Entry {
        name: "lock-fenced",
        about: "The same, but read and write show the lock's token, and the store refuses an older one than it has \
                seen. It holds too, with no transaction, and also where the write goes to another shard.",
        unit: "",
        on: ["", "no tokens", "no leases"],
    },
    Entry {
        name: "table-register",
        about: "The same as `register`, on items of a table, through the DynamoDB door: GetItem with ConsistentRead, PutItem, \
                DeleteItem, and PutItem under a condition as compare-and-set. A condition that is held against an older item \
                than the newest is a lost update.",
        unit: "",
        on: TABLES,
    },
    Entry {
        name: "table-append",
        about: "The same as `append`, on lists in items: reads are one TransactGetItems, appends one TransactWriteItems that says \
                what is added, and what both reads and writes holds conditions against all that it has read. Each \
                transaction has a token; one whose outcome is not known is sent again under it to another node, and some that \
                were done are sent once more: an element that is there twice is a token that was forgotten.",
        unit: "",
        on: TABLES,
    },
    Entry {
        name: "table-bank",
        about: "The same as `bank`, on items: a transfer is one TransactWriteItems that takes from one account, if there is \
                enough, and adds to another, without a look before; all accounts are read by one TransactGetItems. A \
                transaction of which only one half was done, or a read of two moments, changes the sum.",
        unit: "",
        on: TABLES,
    },
    Entry {
        name: "table-stream",
        about: "Half of the clients put and delete items, the others read the table's change feed from its beginning on (DynamoDB \
                Streams), each going on behind the last record that it saw, at another node after an error. Every write that was \
                done stands there once, with what it was told was there before. Whoever derives something from a feed, an index, a cache or \
                another store, is wrong for ever after one record that is missing or comes twice.",
        unit: "",
        on: TABLES,
    },
    Entry {
        name: "stale",
        about: "Writes, and reads that any node answers from what it has (`serializable` in etcd's words). Nobody \
                promises that they are linearizable, and the check says so; with --pinned a client's reads never \
                go back, without they may.",
        unit: "",
        on: ["", "", "one node"],
    },
];

/// What is broken.
pub const NEMESES: [Entry; 12] = [
    Entry {
        name: "kill",
        about: "kill -9 of a node, of the leader in half of the cases, of all at once in a sixth; started again within \
                seconds. It shows what a process had promised and kept in memory only. The kernel keeps what was written, flushed \
                or not: a missing flush is invisible to it.",
        unit: "processes killed",
        on: WORKS,
    },
    Entry {
        name: "pause",
        about: "SIGSTOP of a node or of a majority, SIGCONT after a while; where a workload uses a lock, mostly of the client that holds it, beyond its lease. A paused leader wakes up and believes that it leads; \
                a client that asks it must not hear of the past. No clock helps: the process does not know that time went by.",
        unit: "processes stopped",
        on: WORKS,
    },
    Entry {
        name: "partition",
        about: "Links are cut by a proxy before each node, direction by direction: halves, a ring, a bridge, one way, the leader \
                alone with every second client, halves that flap. Stalled bytes come late, reset connections break: TCP cannot \
                lose a packet and go on. Where two nodes share one connection, as Quorate's do, to cut one way is to cut both.",
        unit: "bytes held back and connections broken",
        on: MANY_NODES,
    },
    Entry {
        name: "slow",
        about: "Everything arrives, late (20 to 400 ms) or through a needle's eye (16 KiB a second), around one node or between \
                all. It shows time-outs that are too short, and whoever takes slowness for death.",
        unit: "bytes delayed",
        on: WORKS,
    },
    Entry {
        name: "transfer",
        about: "The leader is asked to hand over to another node, and that one is seen to lead. It is the mildest change of \
                leaders: the one that happens in every rolling restart, and nobody may notice.",
        unit: "leaders handed over",
        on: ["", "", "one node"],
    },
    Entry {
        name: "stale-disk",
        about: "A node's directory is copied, the node goes on, and the old copy comes back in its place, as from a snapshot of a \
                virtual machine; nothing else is broken meanwhile. What it has confirmed since is forgotten. No node can tell that by itself; while all others keep \
                what they have, nothing is lost, and the node must catch up as if it had been away.",
        unit: "revisions forgotten",
        on: ["", "its log panics", "one node"],
    },
    Entry {
        name: "corrupt",
        about: "Up to eight bits flip in one file of a stopped node. Whatever it does then, no client may see a wrong byte: it \
                names the damage, gets what it lost from its peers, and serves again. A checksum that is not looked at is none.",
        unit: "bits flipped",
        on: ["", "does not start", "one node"],
    },
    Entry {
        name: "members",
        about: "A member is removed while everybody writes, and a new one, with an empty disk, is added in its place, in half \
                of the cases as a learner that is promoted later: it gets all from the others and must serve. Two majorities that do not overlap are what a change of members can make; so can \
                one that is counted before it is known.",
        unit: "members replaced",
        on: ["", "", "one node"],
    },
    Entry {
        name: "power-loss",
        about: "The power of a node, or of all at once, goes while writes are on their way: of what was not flushed each write is \
                lost, kept or torn. That is what kill -9 never shows. The disk is the one of the fault build, which keeps writes in \
                memory until they are flushed; tables of the tree are not covered, they are made anew from the journal.",
        unit: "writes lost or torn",
        on: ["", "no such build", "no such build"],
    },
    Entry {
        name: "clock",
        about: "The clock of a node jumps ahead, runs at 0.3 to 3 times its pace, or stands still (fault build). No promise may \
                rest on it but the length of a lease, which is why the workload `lease` does not go with it.",
        unit: "ms of wrong time",
        on: ["", "no such build", "no such build"],
    },
    Entry {
        name: "disk",
        about: "The disk of a node is slow, or fails a flush (fault build). A flush that failed is never tried again \
                and believed: the pages may be gone (fsyncgate, 2018). The node stops, and is started again.",
        unit: "writes and flushes that met it",
        on: ["", "no such build", "no such build"],
    },
    Entry {
        name: "full",
        about: "The disk of a node has no room for some seconds (fault build). What was confirmed stays so, the others go on, and \
                once there is room again the node serves again, by itself or started again. A record that was cut off by the \
                full disk must not be taken for one that was written.",
        unit: "writes that found no room",
        on: ["", "no such build", "no such build"],
    },
];

/// What is judged.
pub const CHECKS: [(&str, &str); 14] = [
    (
        "linearizable",
        "There is an order of all operations that each client could have seen from a single copy, and in which no operation \
         stands before one that had ended when it began. An operation whose answer never came may stand anywhere behind its \
         beginning, or nowhere.",
    ),
    (
        "serves again",
        "Once all is healed every node answers a linearizable read. A checker of histories is blind to a system that never \
         answers.",
    ),
    (
        "replicas agree",
        "After healing all nodes hold the same at the same revision, by their own hashes. It finds replicas that differ where \
         no client happened to look. Of a table each node is asked for all items as it has them by itself.",
    ),
    (
        "set-full",
        "Each read of a set holds all that was confirmed before it began, nothing twice, and nothing that nobody \
         can have added.",
    ),
    (
        "unique-ids",
        "No id is given twice; and (ids grow) one that is asked for after another was given is greater.",
    ),
    (
        "bank",
        "Every read of all accounts finds what was put there in the beginning, and no account below nothing.",
    ),
    (
        "tokens",
        "A transaction that was done and is sent again by its token is answered as done. That it was not done twice is seen in \
         what it wrote.",
    ),
    ("leases last", "No key goes away before its lease can have ended; in the end every one is gone."),
    (
        "mutual exclusion",
        "What a holder read and then wrote is one step, as a compare-and-set would be: linearizable. How often two \
         clients believed to hold at once is told beside it; that alone is no violation, since no lock can prevent \
         belief.",
    ),
    (
        "monotonic-reads",
        "No client saw an older value of a key after a newer one. With it read-your-writes (a client sees what it wrote), and \
         sequential (one order of all operations that keeps each client's: a search, which ends as unknown where its budget is \
         spent).",
    ),
    (
        "watch: ordered",
        "Events come in the order of their revisions; (unique) none twice; (atomic) those of a revision in one response; (reliable) \
         none is left out between two that came; (resumable) nor from the revision asked for on; (bookmarkable) nor before a \
         progress notification; (prev-kv, is-create) what an event says of the value before is so; (filter) nothing comes that was \
         not asked for; (agreement) all watches and all answers to writes tell the same; (true) nothing that nobody wrote.",
    ),
    (
        "stream: once",
        "Every write that was done has one record in the change feed, what failed has none, and what nobody knows of one at \
         most. (agreement) All readers saw the same records, none was left out between two, none came twice; (chain) of each key a \
         record's old image is the new image of the one before; (ordered) writes of a key stand in the order in which they were \
         done; (fold) what the last record leaves is what is read in the end.",
    ),
    ("nodes stay up", "No node ends but by our hand."),
    (
        "effect",
        "Each nemesis is seen to have done something: a run whose faults did nothing has shown nothing, and ends with 2.",
    ),
];

/// True for what goes through the DynamoDB door.
pub(crate) fn is_of_tables(workload: &str) -> bool {
    workload.starts_with("table-")
}

/// True for a workload whose table has a change feed.
pub(crate) fn has_feed(workload: &str) -> bool {
    workload == "table-stream"
}

/// The isolations of PostgreSQL.
const ISOLATIONS: [&str; 3] = ["read-committed", "repeatable-read", "serializable"];

/// True for what a node commits by order, in a build for tests.
pub(crate) fn is_ordered(nemesis: &str) -> bool {
    matches!(nemesis, "power-loss" | "clock" | "disk" | "full")
}

/// True for what never stands together with another fault: a node that forgets what it has confirmed is one node too few for
/// whoever is behind just then.
pub(crate) fn is_alone(nemesis: &str) -> bool {
    nemesis == "stale-disk"
}

/// True for what costs a node something of what it has, though not without its knowledge: one node at a time.
pub(crate) fn forgets(nemesis: &str) -> bool {
    matches!(nemesis, "corrupt" | "members")
}

/// The nemeses that work on a target as it is shipped.
pub fn nemeses_of(target: &str) -> Vec<String> {
    let Some(place) = TARGETS.iter().position(|(name, _)| *name == target) else { return Vec::new() };
    NEMESES
        .iter()
        .filter(|entry| entry.on[place].is_empty() && !is_ordered(entry.name))
        .map(|entry| entry.name.to_string())
        .collect()
}

/// The nemeses of a system that runs already: what can be undone.
pub const UNDONE: [&str; 1] = ["pause"];

/// Refuses what cannot be done to a system that runs already.
fn running(plan: &Plan) -> Result<(), BadPlan> {
    let (pids, endpoints) = (plan.pids.len(), plan.endpoints.len());
    let hint = "as in --pids 101,102,103 --endpoints http://127.0.0.1:2379,http://127.0.0.1:22379,http://127.0.0.1:32379";
    if pids != endpoints {
        let what = format!("{pids} pids and {endpoints} endpoints: each node has one of both");
        return Err(BadPlan::new(what, hint));
    }
    if pids == 0 {
        return Ok(());
    }
    if plan.target == "postgres" {
        let what = "a server that is not started here is not written into";
        return Err(BadPlan::new(what, "leave out --pids"));
    }
    if let Some(name) = plan.workloads.iter().find(|name| is_of_tables(name)) {
        let what = format!("{name}: of a system that was not started here only the etcd door is known");
        return Err(BadPlan::new(what, "leave out --pids"));
    }
    if plan.binary.is_some() || plan.nodes > 0 {
        return Err(BadPlan::new(
            "with --pids the nodes are those that run",
            "leave out --binary and --nodes",
        ));
    }
    if let Some(name) = plan.nemeses.iter().find(|name| !UNDONE.contains(&name.as_str())) {
        let what = format!("{name} cannot be undone on a system that was not started here");
        return Err(BadPlan::new(what, "of a running system only `pause` can"));
    }
    Ok(())
}

/// What a nemesis' effect is counted in.
pub(crate) fn unit(nemesis: &str) -> &'static str {
    NEMESES.iter().find(|entry| entry.name == nemesis).map_or("", |entry| entry.unit)
}

/// Refuses what a plan asks for and nobody has.
pub(crate) fn fits(plan: &Plan) -> Result<(), BadPlan> {
    let list = "`quorate verify --list` names them";
    let Some(target) = TARGETS.iter().position(|(name, _)| *name == plan.target) else {
        return Err(BadPlan::new(format!("no target is called {}", plan.target), list));
    };
    match (&plan.isolation, plan.target.as_str()) {
        (None, _) => {}
        (Some(level), "postgres") if ISOLATIONS.contains(&level.as_str()) => {}
        (Some(level), "postgres") => {
            let all = format!("there are {}", ISOLATIONS.join(", "));
            return Err(BadPlan::new(format!("no isolation is called {level}"), all));
        }
        (Some(_), target) => {
            return Err(BadPlan::new(format!("{target} has one isolation"), "leave out --isolation"));
        }
    }
    running(plan)?;
    if plan.nodes > 1 && plan.target == "postgres" {
        return Err(BadPlan::new("postgres is one node here", "leave out --nodes"));
    }
    let both = |workload: &str, nemesis: &str| {
        plan.workloads.iter().any(|name| name == workload) && plan.nemeses.iter().any(|name| name == nemesis)
    };
    if both("lease", "clock") {
        let what = "a lease is as long as its leader's clock says: under clock its length shows nothing";
        return Err(BadPlan::new(what, "leave out one of lease and clock"));
    }
    if plan.workloads.is_empty() {
        return Err(BadPlan::new("no workload is named", list));
    }
    for (kind, names, entries) in
        [("workload", &plan.workloads, &WORKLOADS[..]), ("nemesis", &plan.nemeses, &NEMESES[..])]
    {
        for (at, name) in names.iter().enumerate() {
            let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
                return Err(BadPlan::new(format!("no {kind} is called {name}"), list));
            };
            if !entry.on[target].is_empty() {
                let what = format!("{kind} {name} on {}: {}", plan.target, entry.on[target]);
                return Err(BadPlan::new(what, list));
            }
            if names[..at].contains(name) {
                return Err(BadPlan::new(format!("{kind} {name} is named twice"), "name it once"));
            }
        }
    }
    Ok(())
}

/// All of it, for people.
pub fn words() -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "What works on what\n");
    let _ = write!(out, "  {:<24}", "");
    for (name, _) in TARGETS {
        let _ = write!(out, "{name:<15}");
    }
    for (kind, entries) in [("workload", &WORKLOADS[..]), ("nemesis", &NEMESES[..])] {
        for entry in entries {
            let _ = write!(out, "\n  {kind:<9} {:<14}", entry.name);
            for why in entry.on {
                let _ = write!(
                    out,
                    "{:<15}",
                    if !why.is_empty() {
                        why
                    } else if is_ordered(entry.name) {
                        "fault build"
                    } else {
                        "works"
                    }
                );
            }
        }
    }
    let _ = writeln!(out);
    let sections: [(&str, Vec<(&str, &str)>); 4] = [
        ("Targets", TARGETS.to_vec()),
        ("Workloads", WORKLOADS.iter().map(|entry| (entry.name, entry.about)).collect()),
        ("Nemeses", NEMESES.iter().map(|entry| (entry.name, entry.about)).collect()),
        ("Checks", CHECKS.to_vec()),
    ];
    for (title, entries) in sections {
        let _ = writeln!(out, "\n{title}");
        for (name, about) in entries {
            let _ = writeln!(out, "\n  {name}");
            for line in wrapped(about, 96) {
                let _ = writeln!(out, "    {line}");
            }
        }
    }
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.into());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Seat, generator};

    #[test]
    fn whatever_is_listed_is_there_and_teaches() {
        let seat = Seat { client: 0, clients: 1, seed: 1, from: 0 };
        for entry in &WORKLOADS {
            assert!(generator(entry.name, &seat).is_some(), "{}", entry.name);
        }
        let all = WORKLOADS.iter().chain(&NEMESES).map(|e| e.about).chain(TARGETS.iter().map(|t| t.1));
        assert!(all.into_iter().all(|about| about.len() > 80));
        assert!(NEMESES.iter().all(|entry| !entry.unit.is_empty()));
        assert!(words().lines().all(|line| line.len() <= 120));
    }
}
