//! Consumption of a stream: messages are sent to a key (a partition, or one queue) and consumed, each as often as it was sent.
//!
//! - *lost*: its send was acknowledged and nobody consumed it, though it cannot merely be waiting: of the same key a message was
//!   consumed whose send began after this one's had returned, or a poll that began after it found nothing more.
//! - *duplicated*: it was consumed more often than sent. *garbage*: nobody sent it, or its send failed. *from-the-future*: it
//!   was consumed before it was sent.
//! - *reordered*: one consumer got two messages of a key against their order, where the send of the one had returned before that
//!   of the other began.
//!
//! Values that were sent twice are counted, as in a multiset, and their order is not looked at: which of them was consumed
//! nobody can tell.
//!
//! A poll whose end is unknown may have taken messages that nobody can name: where there is one, nothing is called lost.

use super::{Looked, Stop, function, members, unknown};
use crate::budget::Budget;
use crate::history::{History, Moment, Operation, Outcome};
use crate::table::Table;
use crate::value::Value;
use std::collections::BTreeMap;

/// A message.
struct Message {
    key: Value,
    value: Value,
    send: u32,
    consumed: Option<u32>,
    /// The next send of the same value to the same key.
    next: Option<u32>,
}

/// All sends of one value to one key, in the order of their invocations.
#[derive(Clone, Copy)]
struct Sends {
    first: u32,
    last: u32,
    /// The first that was not consumed yet.
    left: Option<u32>,
}

/// What was sent and polled.
#[derive(Default)]
struct Stream {
    messages: Vec<Message>,
    sends: Vec<Sends>,
    /// Where among these a value of a key stands.
    places: Table<(Value, Value), u32>,
    /// For each key the latest invocation of a poll that found nothing, and of a send that was consumed.
    latest: BTreeMap<Value, Moment>,
    /// For each consumer and key, of what it consumed, the send that began last.
    heads: Table<(u32, Value), u32>,
    /// A poll of unknown end.
    unsure: bool,
    polls: u64,
}

pub(super) fn look(history: &History, looked: &mut Looked, budget: &mut Budget<'_>) -> Result<(), Stop> {
    let mut stream = Stream::default();
    for (place, operation) in history.operations.iter().enumerate() {
        budget.step()?;
        if is_send(history, operation) && operation.outcome != Outcome::Fail {
            budget.take(96)?;
            stream.sent(operation.key, operation.argument, place as u32);
        }
    }
    let mut polls: Vec<u32> = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        match function(history, operation) {
            _ if is_send(history, operation) => {}
            "poll" | "consume" | "dequeue" | "receive" | "drain" => match operation.outcome {
                Outcome::Ok => polls.push(place as u32),
                Outcome::Info => stream.unsure = true,
                Outcome::Fail => {}
            },
            _ => return Err(unknown(history, place, "send (enqueue), poll (dequeue), drain")),
        }
    }
    // What a consumer heard first it consumed first.
    polls.sort_unstable_by_key(|&poll| history.operations[poll as usize].returned);
    for &poll in &polls {
        stream.poll(history, poll, looked, budget)?;
    }
    stream.judge(history, looked);
    Ok(())
}

const LOST: (&str, &str) = ("lost", "an acknowledged message was passed over and never consumed");
const DUPLICATED: (&str, &str) = ("duplicated", "a message was consumed more often than it was sent");
const FUTURE: (&str, &str) = ("from-the-future", "a message was consumed before it was sent");
const GARBAGE: (&str, &str) = ("garbage", "a message was consumed that nobody sent, or whose send failed");
const REORDERED: (&str, &str) =
    ("reordered", "a consumer got messages against the order in which they were sent");

fn is_send(history: &History, operation: &Operation) -> bool {
    matches!(function(history, operation), "send" | "produce" | "enqueue" | "publish")
}

impl Stream {
    fn sent(&mut self, key: Value, value: Value, send: u32) {
        let at = self.messages.len() as u32;
        self.messages.push(Message { key, value, send, consumed: None, next: None });
        let new = self.sends.len() as u32;
        let place = *self.places.or_insert_with((key, value), || new);
        if place == new {
            self.sends.push(Sends { first: at, last: at, left: Some(at) });
            return;
        }
        let sends = &mut self.sends[place as usize];
        self.messages[sends.last as usize].next = Some(at);
        sends.last = at;
    }

    fn poll(
        &mut self,
        history: &History,
        poll: u32,
        looked: &mut Looked,
        budget: &mut Budget<'_>,
    ) -> Result<(), Stop> {
        self.polls += 1;
        let operation = &history.operations[poll as usize];
        let key = operation.key;
        let all = members(history, operation.result);
        if all.is_empty() {
            let latest = self.latest.entry(key).or_insert(0);
            *latest = (*latest).max(operation.invoked);
        }
        for value in all {
            budget.step()?;
            let Some(&at) = self.places.get(&(key, value)) else {
                let value = history.values.show(value);
                looked
                    .violation(GARBAGE, &[poll], || format!("{value} was consumed: {}.", history.show(poll)));
                continue;
            };
            // Polls come in the order of their ends and sends in that of their beginnings: if any choice is innocent, this is.
            let sends = &mut self.sends[at as usize];
            let Some(left) = sends.left else {
                let first = self.messages[sends.first as usize].consumed.unwrap_or(poll);
                let value = history.values.show(value);
                looked.violation(DUPLICATED, &[first, poll], || {
                    format!(
                        "{value} was consumed more often than sent: {}; {}.",
                        history.show(first),
                        history.show(poll)
                    )
                });
                continue;
            };
            let message = &mut self.messages[left as usize];
            message.consumed = Some(poll);
            sends.left = message.next;
            let (once, send) = (sends.first == sends.last, message.send);
            if history.operations[send as usize].invoked > operation.returned {
                looked.violation(FUTURE, &[send, poll], || {
                    format!(
                        "It was consumed before it was sent: {}; {}.",
                        history.show(poll),
                        history.show(send)
                    )
                });
            } else if once {
                self.follow(history, operation.process, key, send, poll, looked);
            }
        }
        Ok(())
    }

    /// A consumer took a message.
    fn follow(
        &mut self,
        history: &History,
        consumer: u32,
        key: Value,
        send: u32,
        poll: u32,
        looked: &mut Looked,
    ) {
        let sent = &history.operations[send as usize];
        let latest = self.latest.entry(key).or_insert(0);
        *latest = (*latest).max(sent.invoked);
        let head = *self.heads.or_insert_with((consumer, key), || send);
        let first = &history.operations[head as usize];
        if sent.returned < first.invoked {
            looked.violation(REORDERED, &[send, head, poll], || {
                format!(
                    "The first was sent before the second, and consumed after it: {}; {}.",
                    history.show(send),
                    history.show(head)
                )
            });
        }
        if sent.invoked > first.invoked {
            self.heads.insert((consumer, key), send);
        }
    }

    fn judge(&self, history: &History, looked: &mut Looked) {
        let mut waiting = 0_u64;
        for sends in &self.sends {
            let all = || {
                std::iter::successors(Some(sends.first), |&at| self.messages[at as usize].next)
                    .map(|at| &self.messages[at as usize])
            };
            let consumed = all().filter(|message| message.consumed.is_some()).count();
            let acknowledged =
                all().filter(|message| history.operations[message.send as usize].outcome == Outcome::Ok);
            // What was consumed may be any of them: those that were passed over, as far as it goes.
            let passed = |message: &&Message| {
                let returned = history.operations[message.send as usize].returned;
                self.latest.get(&message.key).is_some_and(|&latest| returned < latest)
            };
            let (over, late): (Vec<&Message>, Vec<&Message>) = acknowledged.partition(passed);
            let lost = if self.unsure { 0 } else { over.len().saturating_sub(consumed) };
            for message in over.iter().rev().take(lost) {
                let value = history.values.show(message.value);
                looked.violation(LOST, &[message.send], || {
                    format!("{value} was never consumed: {}.", history.show(message.send))
                });
            }
            waiting += (over.len() + late.len()).saturating_sub(consumed + lost) as u64;
        }
        looked.notes.push(format!("{} messages, {} polls", self.messages.len(), self.polls));
        if waiting > 0 {
            looked.notes.push(format!("{waiting} messages were never consumed and may still be waiting"));
        }
        if self.polls == 0 {
            looked.blind = Some("nothing was polled".to_owned());
        } else if self.unsure && waiting > 0 {
            looked.blind = Some("a poll of unknown end may have taken what nobody consumed".to_owned());
        }
    }
}
