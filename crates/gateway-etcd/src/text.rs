//! The JSON form of a message, written as its bytes are walked.
//!
//! The library that knows the form makes a value of a whole message first: about a KiB for each pair of a range, so a gigabyte for a
//! million. So it is given only what has no messages inside; those are written one after the other, in the order in which they lie.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};

/// Writes the message that lies in `bytes`.
pub(crate) fn write(message: &MessageDescriptor, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut text = Text { message, out, plain: Vec::new(), list: None, empty: true };
    text.out.push(b'{');
    let mut rest = bytes;
    while !rest.is_empty() {
        let field = Field::take(&mut rest)?;
        match message.get_field(field.number) {
            Some(known) if field.inner.is_some() && has_fields(&known).is_some() => {
                text.inner(&known, field.inner.unwrap_or_default())?;
            }
            _ => {
                text.end_list();
                text.plain.extend_from_slice(field.whole);
            }
        }
    }
    text.end_list();
    text.flush()?;
    text.out.push(b'}');
    Ok(())
}

/// The message in a field that is to be walked in its turn.
fn has_fields(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner) if !field.is_map() && !inner.full_name().starts_with("google.") => Some(inner),
        _ => None,
    }
}

/// A message under way.
struct Text<'m, 'o> {
    message: &'m MessageDescriptor,
    out: &'o mut Vec<u8>,
    /// Fields without messages in them that wait to be written.
    plain: Vec<u8>,
    /// The number of the list that is open.
    list: Option<u32>,
    empty: bool,
}

impl Text<'_, '_> {
    fn inner(&mut self, field: &FieldDescriptor, bytes: &[u8]) -> Result<(), String> {
        let Some(inner) = has_fields(field) else { return Ok(()) };
        if self.list == Some(field.number()) {
            self.out.push(b',');
        } else {
            self.end_list();
            self.flush()?;
            self.comma();
            self.out.extend_from_slice(format!("\"{}\":", field.name()).as_bytes());
            if field.is_list() {
                self.out.push(b'[');
                self.list = Some(field.number());
            }
        }
        write(&inner, bytes, self.out)
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
    }

    fn end_list(&mut self) {
        if self.list.take().is_some() {
            self.out.push(b']');
        }
    }

    /// Writes what waits.
    fn flush(&mut self) -> Result<(), String> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let plain = std::mem::take(&mut self.plain);
        let value = DynamicMessage::decode(self.message.clone(), &plain[..]).map_err(|e| e.to_string())?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        let mut text = serde_json::Serializer::new(Vec::new());
        value.serialize_with_options(&mut text, &options).map_err(|e| e.to_string())?;
        let text = text.into_inner();
        // Without the braces around it.
        if let Some(fields @ [_, ..]) = text.get(1..text.len().saturating_sub(1)) {
            self.comma();
            self.out.extend_from_slice(fields);
        }
        Ok(())
    }
}

/// A field as it lies in a message.
struct Field<'b> {
    number: u32,
    whole: &'b [u8],
    /// What lies in it, if its length is told.
    inner: Option<&'b [u8]>,
}

impl<'b> Field<'b> {
    fn take(rest: &mut &'b [u8]) -> Result<Self, String> {
        let cut = || "a message that ends within a field".to_string();
        let (all, mut at) = (*rest, 0);
        let tag = varint(all, &mut at).ok_or_else(cut)?;
        let mut inner = None;
        match tag & 7 {
            0 => drop(varint(all, &mut at).ok_or_else(cut)?),
            1 => at += 8,
            2 => {
                let length = usize::try_from(varint(all, &mut at).ok_or_else(cut)?).map_err(|_| cut())?;
                let end = at.checked_add(length).ok_or_else(cut)?;
                inner = Some(all.get(at..end).ok_or_else(cut)?);
                at = end;
            }
            5 => at += 4,
            other => return Err(format!("a field of wire type {other}")),
        }
        let (whole, behind) = all.split_at_checked(at).ok_or_else(cut)?;
        *rest = behind;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field's number is too large".to_string())?;
        Ok(Self { number, whole, inner })
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use prost_reflect::DescriptorPool;
    use quorate_proto::etcdserverpb as pb;
    use quorate_proto::mvccpb;

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(quorate_proto::DESCRIPTORS).unwrap();
        pool.get_message_by_name(name).unwrap()
    }

    /// What the library makes of the whole.
    fn plainly(message: &MessageDescriptor, bytes: &[u8]) -> serde_json::Value {
        let value = DynamicMessage::decode(message.clone(), bytes).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true);
        let mut text = serde_json::Serializer::new(Vec::new());
        value.serialize_with_options(&mut text, &options).unwrap();
        serde_json::from_slice(&text.into_inner()).unwrap()
    }

    fn range(pairs: usize) -> pb::RangeResponse {
        let kv = |n: usize| mvccpb::KeyValue {
            key: format!("k{n}").into_bytes().into(),
            value: vec![n as u8; n % 5].into(),
            mod_revision: n as i64 - 1,
            ..Default::default()
        };
        let header = pb::ResponseHeader { cluster_id: u64::MAX, revision: 7, ..Default::default() };
        pb::RangeResponse {
            header: Some(header),
            kvs: (0..pairs).map(kv).collect(),
            more: pairs.is_multiple_of(2),
            count: i64::MAX,
        }
    }

    #[test]
    fn the_text_is_what_the_library_makes() {
        let of = |response| pb::ResponseOp { response: Some(response) };
        let txn = |responses| pb::TxnResponse { succeeded: true, responses, ..Default::default() };
        let inner = txn(vec![
            of(pb::response_op::Response::ResponseRange(range(3))),
            of(pb::response_op::Response::ResponsePut(pb::PutResponse::default())),
            pb::ResponseOp::default(),
        ]);
        let outer = txn(vec![
            of(pb::response_op::Response::ResponseTxn(inner)),
            of(pb::response_op::Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                deleted: 2,
                prev_kvs: range(2).kvs,
                ..Default::default()
            })),
        ]);
        let alarm = pb::AlarmMember { member_id: 5, alarm: 1 };
        let status = pb::StatusResponse {
            errors: vec!["a \"b\"".into(), "\u{1}é".into()],
            db_size: -1,
            ..Default::default()
        };
        let all = [
            ("etcdserverpb.RangeResponse", range(0).encode_to_vec()),
            ("etcdserverpb.RangeResponse", range(9).encode_to_vec()),
            ("etcdserverpb.RangeResponse", Vec::new()),
            ("etcdserverpb.TxnResponse", outer.encode_to_vec()),
            (
                "etcdserverpb.AlarmResponse",
                pb::AlarmResponse { alarms: vec![alarm], ..Default::default() }.encode_to_vec(),
            ),
            ("etcdserverpb.StatusResponse", status.encode_to_vec()),
        ];
        for (name, bytes) in all {
            let (message, mut text) = (descriptor(name), Vec::new());
            write(&message, &bytes, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&text).unwrap(),
                plainly(&message, &bytes),
                "{text}"
            );
            // No bytes end it but with an error.
            for cut in 0..bytes.len() {
                let _ = write(&message, &bytes[..cut], &mut Vec::new());
            }
        }
    }
}
