//! What clients of tables hear: done, certainly not done, or not known.

use super::{ask, pages};
use quorate_node::api::{Answer, Body, Failure};
use quorate_state::table::ReadReply;
use quorate_wire::kv::{Refused, Reply as AnyReply};
use quorate_wire::table::{Outcome, Refusal, Reply};

/// What an answer says.
#[derive(Debug)]
pub(super) enum Heard {
    Reply(Reply),
    Items(Vec<Option<ask::Held>>),
    /// Items, by their names.
    Page(Vec<(String, ask::Held)>),
    /// The table that was to be made is there.
    Exists,
    /// It was certainly not done.
    NotDone,
    Unknown,
}

impl Heard {
    /// What answers somebody who asked for a page of a shard (`leaf`), or for something else. The error is of what no client may hear.
    pub(super) fn of(result: Result<Answer, Failure>, leaf: bool) -> Result<Self, String> {
        Ok(match result {
            Ok(answer) => match answer.body {
                Body::Reply(AnyReply::Table(reply)) => match *reply {
                    // A new shard that has not heard of its table yet.
                    Reply::Executed(done)
                        if done.iter().any(|done| matches!(done.outcome, Outcome::NoTable(_))) =>
                    {
                        Self::NotDone
                    }
                    // The directory did not have the tenant: see `ask::route`.
                    Reply::Placed => Self::NotDone,
                    reply => Self::Reply(reply),
                },
                Body::Table(reply) => match *reply {
                    ReadReply::Items(got) => Self::Items(
                        got.into_iter().map(|got| got.item.map(|item| ask::held(&item))).collect(),
                    ),
                    ReadReply::Page(paged) if leaf => {
                        let named = |item| Some((ask::name(item)?.to_string(), ask::held(item)));
                        Self::Page(paged.items.iter().filter_map(named).collect())
                    }
                    ReadReply::Page(paged) => Self::Items(pages::found(&paged)?),
                    ReadReply::Changing => Self::NotDone,
                    other => return Err(format!("Tables: a read was answered {other:?}")),
                },
                other => return Err(format!("Tables: a request was answered {other:?}")),
            },
            Err(Failure::Refused(Refused::Table(Refusal::TableExists(_)), _)) => Self::Exists,
            // Another with this token is under way: the one that was sent before.
            Err(Failure::Refused(Refused::Table(Refusal::TokenInUse), _)) => Self::Unknown,
            // Also a new shard that has not heard of its table yet.
            Err(
                Failure::NoLeader
                | Failure::Overloaded
                // Or, of `InUse`, a tenant that the directory was said not to have, by an old map, while another one moves.
                | Failure::Refused(
                    Refused::Table(
                        Refusal::StaleEpoch | Refusal::Moved | Refusal::NotFound | Refusal::InUse(_),
                    ),
                    _,
                ),
            ) => Self::NotDone,
            // A node that is behind may not have the table yet, and says so of itself alone.
            Err(Failure::Refused(refused, _)) => return Err(format!("Tables: refused: {refused:?}")),
            Err(Failure::Broken(why)) if !why.starts_with("this node lost its state") => {
                return Err(format!("Tables: failed: {why}"));
            }
            Err(_) => Self::Unknown,
        })
    }
}
