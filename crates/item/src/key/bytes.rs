//! Key values as bytes, in their order and self-delimiting: no encoding is the beginning of another, so several can
//! stand one after the other and are ordered by the first, then the second.
//!
//! A text and bytes are written as they are, each zero byte as `00 FF`, and `00 01` at the end: the end is less than
//! whatever could follow. A number is written by [`Number::encode_ordered`].

use super::{KeyAttribute, KeyType};
use crate::number::Number;
use crate::value::AttributeValue;

const END: [u8; 2] = [0, 1];

/// Appends a key value; others than texts, numbers and bytes have no bytes.
pub fn encode(value: &AttributeValue, out: &mut Vec<u8>) {
    match value {
        AttributeValue::N(number) => number.encode_ordered(out),
        AttributeValue::S(_) | AttributeValue::B(_) => {
            encode_beginning(value, out);
            out.extend_from_slice(&END);
        }
        _ => {}
    }
}

/// Appends what the bytes of all values begin with that begin with this one.
pub(super) fn encode_beginning(value: &AttributeValue, out: &mut Vec<u8>) {
    let bytes: &[u8] = match value {
        AttributeValue::S(text) => text.as_bytes(),
        AttributeValue::B(bytes) => bytes,
        _ => return,
    };
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
}

/// The values of these attributes from their bytes, one after the other.
pub fn decode(attributes: &[KeyAttribute], mut bytes: &[u8]) -> Option<Vec<AttributeValue>> {
    let mut values = Vec::new();
    for attribute in attributes {
        let (value, taken) = match attribute.kind {
            KeyType::N => {
                let (number, taken) = Number::decode_ordered(bytes)?;
                (AttributeValue::N(number), taken)
            }
            KeyType::S => {
                let (text, taken) = decode_bytes(bytes)?;
                (AttributeValue::S(String::from_utf8(text).ok()?), taken)
            }
            KeyType::B => {
                let (bytes, taken) = decode_bytes(bytes)?;
                (AttributeValue::B(bytes), taken)
            }
        };
        values.push(value);
        bytes = &bytes[taken..];
    }
    bytes.is_empty().then_some(values)
}

fn decode_bytes(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut out = Vec::new();
    let mut i = 0;
    loop {
        match (*bytes.get(i)?, bytes.get(i + 1)) {
            (0, Some(0xFF)) => {
                out.push(0);
                i += 2;
            }
            (0, Some(1)) => return Some((out, i + 2)),
            (0, _) => return None,
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
}

/// The least bytes that are greater than all that begin with these; none if all have to be below.
pub fn after_all_with(beginning: &[u8]) -> Option<Vec<u8>> {
    let last = beginning.iter().rposition(|byte| *byte < 0xFF)?;
    let mut after = beginning[..=last].to_vec();
    after[last] += 1;
    Some(after)
}
