//! What all codecs of tables are made of: texts, lists, pairs.

use crate::codec::{Malformed, Read, Reader, Write};
use bytes::BytesMut;

/// No definition has more indexes of a kind, attributes or tags than these, and no command more operations: what peers send
/// is held against it.
const MANY: usize = 10_000;

pub(super) fn write_texts(out: &mut BytesMut, texts: &[String]) {
    out.varint(texts.len() as u64);
    for text in texts {
        out.string(text.as_bytes());
    }
}

pub(super) fn write_pairs(out: &mut BytesMut, pairs: &[(String, String)]) {
    out.varint(pairs.len() as u64);
    for (key, value) in pairs {
        out.string(key.as_bytes());
        out.string(value.as_bytes());
    }
}

pub(super) fn read_pairs(input: &mut Reader) -> Read<Vec<(String, String)>> {
    list(input, |input| Ok((text(input)?, text(input)?)))
}

pub(super) fn write_option(out: &mut BytesMut, value: Option<&str>) {
    out.flag(value.is_some());
    if let Some(value) = value {
        out.string(value.as_bytes());
    }
}

pub(super) fn option(input: &mut Reader) -> Read<Option<String>> {
    if input.flag()? { Ok(Some(text(input)?)) } else { Ok(None) }
}

pub(super) fn text(input: &mut Reader) -> Read<String> {
    String::from_utf8(input.bytes()?.to_vec()).map_err(|_| Malformed)
}

pub(super) fn small(input: &mut Reader) -> Read<u32> {
    u32::try_from(input.varint()?).map_err(|_| Malformed)
}

pub(super) fn list<T>(input: &mut Reader, mut element: impl FnMut(&mut Reader) -> Read<T>) -> Read<Vec<T>> {
    let count = input.count()?;
    if count > MANY {
        return Err(Malformed);
    }
    (0..count).map(|_| element(input)).collect()
}
