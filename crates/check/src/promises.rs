//! Models whose system gives the order itself, so that nothing is searched: they are judged promise by promise.

use crate::history::{History, Outcome};
use crate::read::BadInput;
use crate::verdict::Verdict;
use crate::{etcd, logs, watches};

/// A verdict for each promise; or an operation, and what cannot be understood about it.
type Told = Result<Vec<(&'static str, Verdict)>, (u32, String)>;

/// Such a model.
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// The functions it knows.
    pub about: &'static str,
    /// What is promised: the name, and what it means.
    pub promises: &'static [(&'static str, &'static str)],
    /// Those that a beginning may break and the whole keep: what came later was still to come.
    pub late: &'static [&'static str],
    judge: fn(&History) -> Told,
}

/// All of them.
pub const MODELS: [Model; 3] = [
    Model {
        name: "log",
        aliases: &["kafka"],
        about: "send, poll, txn of both, assign, seek, subscribe; each key is a log with offsets",
        promises: &logs::PROMISES,
        late: &["no-lost-write"],
        judge: logs::judge,
    },
    Model {
        name: "watch",
        aliases: &["watches", "etcd-watch"],
        about: "put, delete, txn with a revision as version; watch with its responses",
        promises: &watches::PROMISES,
        late: &[],
        judge: watches::judge,
    },
    Model {
        name: "etcd",
        aliases: &["etcd-kv", "mvcc"],
        about: "put, delete, get, txn, grant, revoke, each answer with its revision as version",
        promises: &etcd::PROMISES,
        late: &[],
        judge: etcd::judge,
    },
];

impl Model {
    /// The model of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name || model.aliases.contains(&name))
    }

    /// A verdict for each promise.
    pub fn judge(&self, history: &History) -> Result<Vec<(&'static str, Verdict)>, BadInput> {
        let mut told = (self.judge)(history).map_err(|(place, what)| BadInput {
            line: history.lines.get(place as usize).copied().unwrap_or(0),
            column: 1,
            ..BadInput::new(what, format!("`quorate check --models` says what {} knows", self.name))
        })?;
        if !history.operations.iter().any(|operation| operation.outcome == Outcome::Ok) {
            for (_, verdict) in
                told.iter_mut().filter(|(_, verdict)| matches!(verdict, Verdict::Proved { .. }))
            {
                *verdict = Verdict::Unknown { why: "nothing was judged: no operation ended ok".to_owned() };
            }
        }
        Ok(told)
    }
}
