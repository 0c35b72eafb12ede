//! Consumption of a stream: messages are sent to a key (a partition, or one queue) and consumed, each value once in a key.
//!
//! - *lost*: its send was acknowledged and nobody consumed it, though it cannot merely be waiting: of the same key a message was
//!   consumed whose send began after this one's had returned, or a poll that began after it found nothing more.
//! - *duplicated*: it was consumed twice. *garbage*: nobody sent it, not yet, or its send failed.
//! - *reordered*: one consumer got two messages of a key against their order, where the send of the one had returned before that
//!   of the other began.
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
}

/// What was sent and polled.
#[derive(Default)]
struct Stream {
    messages: Vec<Message>,
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
            budget.take(64)?;
            let (key, value) = (operation.key, operation.argument);
            stream.places.insert((key, value), stream.messages.len() as u32);
            stream.messages.push(Message { key, value, send: place as u32, consumed: None });
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
const DUPLICATED: (&str, &str) = ("duplicated", "a message was consumed twice");
const GARBAGE: (&str, &str) = ("garbage", "a message was consumed that nobody sent, or whose send failed");
const REORDERED: (&str, &str) =
    ("reordered", "a consumer got messages against the order in which they were sent");

fn is_send(history: &History, operation: &Operation) -> bool {
    matches!(function(history, operation), "send" | "produce" | "enqueue" | "publish")
}

impl Stream {
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
            let message = &mut self.messages[at as usize];
            if operation.returned < history.operations[message.send as usize].invoked {
                let (value, send) = (history.values.show(value), message.send);
                looked.violation(GARBAGE, &[poll, send], || {
                    format!(
                        "{value} was consumed before it was sent: {}; {}.",
                        history.show(poll),
                        history.show(send)
                    )
                });
            }
            if let Some(first) = message.consumed.replace(poll) {
                let value = history.values.show(value);
                looked.violation(DUPLICATED, &[first, poll], || {
                    format!("{value} was consumed twice: {}; {}.", history.show(first), history.show(poll))
                });
            }
            let send = message.send;
            self.follow(history, operation.process, key, send, poll, looked);
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
        for message in self.messages.iter().filter(|message| message.consumed.is_none()) {
            let send = &history.operations[message.send as usize];
            if send.outcome != Outcome::Ok {
                continue;
            }
            let passed = self.latest.get(&message.key).is_some_and(|&latest| send.returned < latest);
            if passed && !self.unsure {
                let value = history.values.show(message.value);
                looked.violation(LOST, &[message.send], || {
                    format!("{value} was never consumed: {}.", history.show(message.send))
                });
            } else {
                waiting += 1;
            }
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
