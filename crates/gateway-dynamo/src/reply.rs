//! The body of an answer, written member by member: items are written as text once and never built as JSON values.

use quorate_item::Item;
use serde_json::Value;

/// An object under way.
pub(crate) struct Reply {
    out: Vec<u8>,
}

impl Reply {
    /// Without members.
    pub(crate) fn new() -> Self {
        Self { out: vec![b'{'] }
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        write_text(&mut self.out, name);
        self.out.push(b':');
    }

    /// A member that somebody writes.
    pub(crate) fn raw(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(&mut self.out);
    }

    /// A member.
    pub(crate) fn value(&mut self, name: &str, value: &Value) {
        self.raw(name, |out| out.extend_from_slice(value.to_string().as_bytes()));
    }

    /// An item.
    pub(crate) fn item(&mut self, name: &str, item: &Item) {
        self.raw(name, |out| item.write_json(out));
    }

    /// A list of items.
    pub(crate) fn items(&mut self, name: &str, items: &[Item]) {
        self.raw(name, |out| write_items(out, items));
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

pub(crate) fn write_items<'i>(out: &mut Vec<u8>, items: impl IntoIterator<Item = &'i Item>) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item.write_json(out);
    }
    out.push(b']');
}

/// A text as JSON writes it.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}

/// An item as a JSON value, for errors.
pub(crate) fn value_of(item: &Item) -> Value {
    let mut text = Vec::new();
    item.write_json(&mut text);
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}
