//! etcd itself: ranges, transactions, leases, by the revisions that it gives.
//!
//! Every answer carries the revision at which it was true, as `version`. So nothing need be searched for where outcomes are
//! known: the store is played again, revision by revision, and every answer is compared with the store at its revision.
//! Versions are checked themselves: one change has one, they keep real time, and none is left without a cause. A revision that
//! no acknowledged write claims was one of unknown outcome, or a lease that ended; which one is told by what was read of it,
//! else all are tried.
//!
//! Operations:
//!
//! - `put` with `key` and a value, or a map `{"value": v, "lease": id}`;
//! - `delete` with `key`, and as wished `{"end": e}` or `{"prefix": true}`; its result is the number of deleted keys;
//! - `get` with `key`, and as wished `{"end": e, "prefix": true, "revision": r, "serializable": true}`; its result is a list of
//!   `{"key": k, "value": v, "mod": r, "create": r, "ver": n, "lease": id}`, of which only what is told is compared;
//! - `txn` with `{"if": [[target key op what] …], "then": [step …], "else": [step …]}`, targets `value`, `mod`, `create`, `ver`,
//!   `lease`, ops `=`, `!=`, `<`, `>`; steps `["put" k v]` or `["put" k v lease]`, `["delete" k]` or `["delete" k end]`, `["get"
//!   k]` or `["get" k end]`; its result `{"succeeded": true, "results": […]}` has nil, a number, or a list for each step;
//! - `grant`, `revoke` with a lease's number; `compact` is passed over.
//!
//! What the store held before the history began is known as far as it was read. **Info and fail.** What failed has no part; what is of unknown
//! outcome may fill a revision. A serializable `get` may be of any revision. Cost: near-linear; for revisions that nobody
//! claims exponential in the worst case, then bounded, and it ends as unknown.

mod ask;
mod numbers;
mod replay;
mod store;

use crate::history::{History, Outcome};
use crate::verdict::{Verdict, Witness};
use ask::{Ask, Asked};
use replay::Replay;
use std::collections::BTreeMap;

/// What is promised, each judged alone.
pub const PROMISES: [(&str, &str); 3] = [
    ("unique-revisions", "a revision is one change"),
    ("real-time", "no answer is of an older revision than one that was there before it was asked for"),
    ("state", "every answer is the store at its revision, and every revision has a cause"),
];

const BY: &str = "replay by revisions";

/// Judges every promise; the error is an operation and what cannot be understood about it.
pub fn judge(history: &History) -> Result<Vec<(&'static str, Verdict)>, (u32, String)> {
    let mut asked = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        let at = place as u32;
        let wrong = |what| (at, what);
        if operation.outcome == Outcome::Fail {
            continue;
        }
        let Some(ask) = Ask::of(operation, &history.values).map_err(wrong)? else { continue };
        let ok = operation.outcome == Outcome::Ok;
        let told = if ok { ask.told(operation.result, &history.values).map_err(wrong)? } else { Vec::new() };
        if ok && operation.version.is_none() {
            return Err(wrong("an answer of etcd tells its revision: give it a version".into()));
        }
        let version = operation.version.map_or(0, |version| version as i64);
        asked.push(Asked { place: at, ask, told, version, ok });
    }
    let unique = unique(history, &asked);
    let refuted = |found: Option<Witness>| found.map_or(Verdict::Proved { by: BY }, Verdict::Refuted);
    let state = if unique.is_some() {
        Verdict::NotRefuted {
            why: "revisions are not unique, so that there is no store to compare with".into(),
        }
    } else if let Some(witness) = numbers::contradiction(history, &asked) {
        Verdict::Refuted(witness)
    } else {
        Replay::new(history, &asked).run()
    };
    Ok(vec![
        ("unique-revisions", refuted(unique)),
        ("real-time", refuted(real_time(history, &asked))),
        ("state", state),
    ])
}

fn witness(history: &History, kind: &str, what: &str, core: &[u32]) -> Witness {
    let mut core = core.to_vec();
    core.sort_unstable();
    core.dedup();
    let shown: Vec<String> = core.iter().map(|&it| history.show(it)).collect();
    Witness { kind: kind.into(), words: format!("{what}: {}", shown.join("; ")), core, by: BY }
}

fn unique(history: &History, asked: &[Asked]) -> Option<Witness> {
    let mut by: BTreeMap<i64, u32> = BTreeMap::new();
    asked.iter().filter(|it| it.ok && it.ask.changed(&it.told) == Some(true)).find_map(|it| {
        let other = by.insert(it.version, it.place)?;
        Some(witness(
            history,
            "shared revision",
            &format!("two changes have revision {}", it.version),
            &[other, it.place],
        ))
    })
}

/// Compares what returned before with what was asked then.
fn real_time(history: &History, asked: &[Asked]) -> Option<Witness> {
    let mut ends: Vec<&Asked> = asked.iter().filter(|it| it.ok).collect();
    let begins = ends.clone();
    ends.sort_by_key(|it| history.operations[it.place as usize].returned);
    let mut next = 0;
    let mut newest: Option<&Asked> = None;
    // They stand in the order of invocation.
    begins.into_iter().find_map(|it| {
        let begin = history.operations[it.place as usize].invoked;
        while let Some(end) =
            ends.get(next).filter(|end| history.operations[end.place as usize].returned < begin)
        {
            if newest.is_none_or(|newest| newest.version < end.version) {
                newest = Some(end);
            }
            next += 1;
        }
        let free = matches!(it.ask, Ask::Get { serializable: true, .. });
        let newest = newest.filter(|newest| {
            !free && {
                let change = it.ask.changed(&it.told) == Some(true);
                it.version < newest.version || (change && it.version == newest.version)
            }
        })?;
        let what = format!(
            "revision {} was there before what got revision {} was asked for",
            newest.version, it.version
        );
        Some(witness(history, "back in time", &what, &[newest.place, it.place]))
    })
}
