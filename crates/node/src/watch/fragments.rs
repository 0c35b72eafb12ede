//! Messages that are too large for a client that said so: in parts, all but the last of which say that more follow.

use crate::api::WatchMessage;
use std::collections::VecDeque;

/// A watch that allows it gets messages of about this size.
pub(super) const FRAGMENT_BYTES: usize = 1 << 20;

pub(super) fn split(message: WatchMessage) -> VecDeque<WatchMessage> {
    let mut parts = VecDeque::new();
    let empty = WatchMessage { events: Vec::new(), fragment: true, ..message.clone() };
    let mut part = empty.clone();
    let mut bytes = 0;
    for event in message.events {
        let more = event.size();
        if bytes + more > FRAGMENT_BYTES && !part.events.is_empty() {
            parts.push_back(std::mem::replace(&mut part, empty.clone()));
            bytes = 0;
        }
        bytes += more;
        part.events.push(event);
    }
    part.fragment = false;
    parts.push_back(part);
    parts
}
