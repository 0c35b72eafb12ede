//! That no field of a message in JSON is said twice, as protobuf's own reader has it: which of the two counts nobody could know.
//!
//! A field has two names, `prev_kv` and `prevKv`; one that is not known may stand there as often as it likes. What a field holds is not
//! looked at here.

use prost_reflect::{Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// An error where a field of the message in `text` is said twice, or where it is no JSON.
pub(crate) fn once(message: &MessageDescriptor, text: &[u8]) -> Result<(), serde_json::Error> {
    Once(Some(message.clone())).deserialize(&mut serde_json::Deserializer::from_slice(text))
}

/// Reads a value: a message, a list of such, or something without fields.
struct Once(Option<MessageDescriptor>);

impl<'de> DeserializeSeed<'de> for Once {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        match self.0 {
            Some(message) => value.deserialize_any(Fields(message)),
            None => value.deserialize_ignored_any(IgnoredAny).map(drop),
        }
    }
}

struct Fields(MessageDescriptor);

impl<'de> Visitor<'de> for Fields {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut said = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let field = self.0.get_field_by_json_name(&name).or_else(|| self.0.get_field_by_name(&name));
            if field.as_ref().is_some_and(|field| !said.insert(field.number())) {
                return Err(A::Error::custom(format_args!("duplicate field \"{name}\"")));
            }
            let within = field.filter(|field| !field.is_map()).and_then(|field| match field.kind() {
                Kind::Message(message) => Some(message),
                _ => None,
            });
            map.next_value_seed(Once(within))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Once(Some(self.0.clone())))?.is_some() {}
        Ok(())
    }

    // What is neither is not as it should be, which the reader says that comes after this one.
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
