//! A table that is deleted while transactions over its shards are under way, and made again under the same name.
//!
//! Writers append an element to two of its lists at once, and read two of them at one moment. Somebody makes the table, lets it be for
//! a while, deletes it as the doors of tables do (`state::table`, `closing`), and begins anew, at any node each time.
//!
//! What must be true: a read that sees one of the two appends sees both; it sees all that was done when it was asked, and nothing that was
//! sent to an earlier table of that name. And a table that is being deleted is gone once all is mended.

use crate::tables::ask;
use quorate_base::{NodeId, Rng, ShardId};
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_state::table::{Placement, ReadReply};
use quorate_wire::kv::{Command as Any, KeyRange, Range, Refused, Reply as AnyReply};
use quorate_wire::table::{Command, EPOCH, Execute, Outcome, Refusal, Reply, What};
use std::collections::{BTreeMap, BTreeSet};

/// The table's name.
pub(crate) const SHORT: &str = "short";
/// So many shards it has.
const SHARDS: u32 = 2;
/// So many lists it has.
const LISTS: u64 = 6;
/// So many write and read.
pub(crate) const WRITERS: usize = 3;

/// What an element was appended to.
struct Element {
    /// The first shard of the table that it was sent to.
    of: u32,
    lists: [u64; 2],
    done: bool,
}

/// What a writer waits for.
enum Doing {
    Append(u64),
    /// A read, of the table of this first shard, with what was done to it before.
    Read {
        of: u32,
        lists: [u64; 2],
        done: BTreeSet<u64>,
    },
}

/// What the one who deletes does.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    Make,
    /// It is there, and is let be for a while.
    Live,
    Delete,
    /// It is being deleted; next is a read, for a map that is new enough.
    Look {
        again: bool,
    },
    /// These shards of the table are to be asked whether they are drained, and the others later.
    Inside(Vec<ShardId>),
    Outside(Vec<ShardId>),
    Last,
}

/// All of them.
pub(crate) struct Drops {
    rng: Rng,
    stage: Stage,
    /// Where the deletion goes on, and what of.
    at: Option<NodeId>,
    block: Option<(u32, u32, u64)>,
    /// How many transactions the drained shards remember to be committed.
    remembered: u64,
    doing: Vec<Option<Doing>>,
    elements: BTreeMap<u64, Element>,
    next: u64,
}

/// A request, and to which shard it goes.
pub(crate) type Sent = (ShardId, Request);

fn write(epoch: u64, what: What) -> Request {
    Request::Write(Any::Table(Box::new(Command { epoch, now: 0, what })))
}

impl Drops {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::stream(seed, "tables that are deleted"),
            stage: Stage::Make,
            at: None,
            block: None,
            remembered: 0,
            doing: (0..WRITERS).map(|_| None).collect(),
            elements: BTreeMap::new(),
            next: 0,
        }
    }

    /// What was not through is given up.
    pub(crate) fn begin_round(&mut self) {
        self.doing.iter_mut().for_each(|doing| *doing = None);
    }

    /// Whether it is being deleted.
    pub(crate) fn is_closing(&self) -> bool {
        !matches!(self.stage, Stage::Make | Stage::Live | Stage::Delete)
    }

    pub(crate) fn pause(&mut self, least: u64, most: u64) -> u64 {
        self.rng.between(least, most)
    }

    /// Whom to ask, of these: where a deletion goes on, or any.
    pub(crate) fn node(&mut self, nodes: &[NodeId], deletes: bool) -> NodeId {
        let any = *self.rng.pick(nodes);
        if deletes { self.at.unwrap_or(any) } else { any }
    }

    // ---- writers ----

    /// What a writer sends, by the map of the node that is asked; with words for it.
    pub(crate) fn next(&mut self, writer: usize, placement: &Placement) -> Option<(Sent, String)> {
        let of = placement.table(SHORT)?.first;
        let one = self.rng.below(LISTS);
        let lists = [one, (one + 1 + self.rng.below(LISTS - 1)) % LISTS];
        let names = lists.map(|list| format!("a{list}"));
        let (mut request, doing, words) = if self.rng.chance(1, 2) {
            self.next += 1;
            let ops = lists.iter().map(|list| ask::append(*list, &[self.next], None)).collect();
            let execute = Execute { atomic: true, token: None, ops };
            self.elements.insert(self.next, Element { of, lists, done: false });
            let words = format!("append {} to {names:?} of {SHORT}", self.next);
            (write(EPOCH, What::Execute(execute)), Doing::Append(self.next), words)
        } else {
            let mine = self.elements.iter().filter(|(_, element)| element.of == of && element.done);
            let done = mine.map(|(&number, _)| number).collect();
            let read = ask::read(lists.iter().map(|list| ask::list(*list)));
            (read, Doing::Read { of, lists, done }, format!("read {names:?} of {SHORT}"))
        };
        ask::address(&mut request, SHORT);
        let sent = ask::route(placement, SHORT, request, 0)?;
        self.doing[writer] = Some(doing);
        Some((sent, words))
    }

    /// A writer is answered. True if it has been done.
    pub(crate) fn answered(
        &mut self,
        writer: usize,
        result: Result<Answer, Failure>,
    ) -> Result<bool, String> {
        let Some(doing) = self.doing[writer].take() else { return Ok(false) };
        let body = match result {
            Ok(answer) => answer.body,
            Err(failure) => return failed(failure).map(|()| false),
        };
        match (doing, body) {
            (Doing::Append(number), Body::Reply(AnyReply::Table(reply))) => match *reply {
                Reply::Executed(done) => {
                    let all = done.iter().all(|done| done.outcome == Outcome::Done);
                    if let Some(element) = self.elements.get_mut(&number).filter(|_| all) {
                        element.done = true;
                    }
                    Ok(all)
                }
                other => Err(format!("Drops: an append was answered {other:?}")),
            },
            (Doing::Read { of, lists, done }, Body::Table(reply)) => match *reply {
                ReadReply::Items(items) => {
                    let held = items.into_iter().map(|got| got.item.map(|item| ask::held(&item).list));
                    let found: Vec<Vec<u64>> = held.map(Option::unwrap_or_default).collect();
                    self.judge(of, lists, &done, &found).map(|()| true)
                }
                ReadReply::Changing => Ok(false),
                other => Err(format!("Drops: a read was answered {other:?}")),
            },
            (_, body) => Err(format!("Drops: a request was answered {body:?}")),
        }
    }

    fn judge(
        &self,
        of: u32,
        lists: [u64; 2],
        done: &BTreeSet<u64>,
        found: &[Vec<u64>],
    ) -> Result<(), String> {
        let lists: BTreeMap<u64, &Vec<u64>> = lists.into_iter().zip(found).collect();
        for (list, numbers) in &lists {
            for number in *numbers {
                let element = self.elements.get(number);
                if element.is_none_or(|element| element.of != of || !element.lists.contains(list)) {
                    return Err(format!(
                        "Drops: a{list} of the table at shard {of} holds {number}, which was sent to another table"
                    ));
                }
            }
        }
        for (number, element) in self.elements.iter().filter(|(_, element)| element.of == of) {
            let looked = || element.lists.iter().filter_map(|list| lists.get(list));
            let (all, there) = (looked().count(), looked().filter(|held| held.contains(number)).count());
            if there > 0 && there < all {
                return Err(format!(
                    "Drops: of the transaction that appends {number} half was read: {lists:?}"
                ));
            }
            if there < all && done.contains(number) {
                return Err(format!("Drops: {number} was done, and is not in {lists:?}"));
            }
        }
        Ok(())
    }

    // ---- who makes it and deletes it ----

    /// What is asked next; `None` where the node's map has no such place, and the deletion begins anew.
    pub(crate) fn go_on(&mut self, node: NodeId) -> (Sent, String) {
        let of_one = |what| (ShardId(1), write(EPOCH, what));
        let (first, count, epoch) = self.block.unwrap_or((0, 0, EPOCH));
        let sent = match &self.stage {
            Stage::Make => {
                let definition = ask::definition(SHORT, SHARDS, false);
                of_one(What::Create(Box::new(definition)))
            }
            Stage::Live | Stage::Delete => {
                self.at = Some(node);
                of_one(What::Drop { table: SHORT.into(), drained: 0 })
            }
            Stage::Look { .. } => {
                self.at = Some(node);
                let key = KeyRange { key: "none".into(), ..KeyRange::default() };
                let range = Range { range: key, ..Range::default() };
                (ShardId(1), Request::Range { range, serializable: false })
            }
            Stage::Inside(shards) | Stage::Outside(shards) => {
                let inside = matches!(self.stage, Stage::Inside(_));
                let shard = shards.first().copied().unwrap_or(ShardId(1));
                let epoch = if inside { epoch } else { EPOCH };
                (shard, write(epoch, What::Drained { first: ShardId(first), count, inside }))
            }
            Stage::Last => of_one(What::Drop { table: SHORT.into(), drained: count }),
        };
        let words = format!("{SHORT}: {:?}", self.stage);
        (sent, words)
    }

    /// It is answered, by a node with this map. Gives what is to be counted.
    pub(crate) fn went_on(
        &mut self,
        placement: Option<&Placement>,
        result: Result<Answer, Failure>,
    ) -> Result<Option<&'static str>, String> {
        let answer = match result {
            Ok(answer) => Ok(answer.body),
            Err(Failure::Refused(Refused::Table(refusal), _)) => Err(refusal),
            Err(failure) => {
                failed(failure)?;
                self.again();
                return Ok(None);
            }
        };
        let was = std::mem::replace(&mut self.stage, Stage::Look { again: false });
        match (was, answer) {
            (Stage::Make, Ok(_) | Err(Refusal::TableExists(_))) => {
                self.stage = Stage::Live;
                return Ok(Some("tables made to be deleted"));
            }
            (Stage::Make, Err(_)) => self.stage = Stage::Make,
            (Stage::Live | Stage::Delete, Ok(_) | Err(Refusal::InUse(_))) => self.at = None,
            (Stage::Look { again }, Ok(_)) => {
                let Some(placement) = placement else { return Ok(None) };
                let Some(block) = placement.table(SHORT) else {
                    (self.stage, self.at) = (Stage::Make, None);
                    return Ok(Some("tables deleted"));
                };
                self.block = Some((block.first, block.count, block.epoch));
                self.stage = if again {
                    let others = placement.blocks().filter(|other| other.first != block.first);
                    let others = others.flat_map(|other| other.shards());
                    Stage::Outside([ShardId(1)].into_iter().chain(others).collect())
                } else {
                    self.remembered = 0;
                    Stage::Inside(block.shards().collect())
                };
            }
            (Stage::Inside(mut shards), Ok(body)) => {
                if let Body::Reply(AnyReply::Table(reply)) = body
                    && let Reply::Expired(here) = *reply
                {
                    self.remembered += here;
                }
                shards.remove(0);
                self.stage = match (shards.is_empty(), self.remembered) {
                    (false, _) => Stage::Inside(shards),
                    (true, 0) => Stage::Last,
                    (true, _) => Stage::Look { again: true },
                };
            }
            (Stage::Outside(mut shards), Ok(_)) => {
                shards.remove(0);
                self.stage = if shards.is_empty() { Stage::Last } else { Stage::Outside(shards) };
            }
            (Stage::Last, Ok(_)) => {
                (self.stage, self.at) = (Stage::Make, None);
                return Ok(Some("tables deleted"));
            }
            // It is gone, or something is under way in it.
            (_, Err(refusal)) => {
                self.at = None;
                // Nobody may have heard that it is to be deleted.
                if self.rng.chance(1, 3) {
                    self.stage = Stage::Delete;
                }
                if matches!(refusal, Refusal::InUse(_)) {
                    return Ok(Some("deletions of tables that waited"));
                }
            }
        }
        Ok(None)
    }

    /// What was asked was not done, as far as is known.
    pub(crate) fn again(&mut self) {
        self.at = None;
        match self.stage {
            Stage::Make => {}
            // It may be marked.
            _ => self.stage = Stage::Look { again: false },
        }
    }

    /// How far it is, in words.
    pub(crate) fn words(&self) -> String {
        format!("{:?} of {:?}", self.stage, self.block)
    }

    /// It is there, and may be let be.
    pub(crate) fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }
}

/// A failure that may be.
fn failed(failure: Failure) -> Result<(), String> {
    match failure {
        Failure::Broken(why) if !why.starts_with("this node lost its state") => {
            Err(format!("Drops: failed: {why}"))
        }
        Failure::Refused(Refused::Table(_), _) => Ok(()),
        Failure::Refused(refused, _) => Err(format!("Drops: refused: {refused:?}")),
        _ => Ok(()),
    }
}
