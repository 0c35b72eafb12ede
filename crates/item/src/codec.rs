//! The bytes of items and of parsed expressions, in the log and in the state: versioned, compact, refusing what is not
//! theirs. Nothing is allocated by a length that was not checked against what is there.

/// The bytes do not have the form they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed bytes of an item or an expression")
    }
}

impl std::error::Error for Malformed {}

/// What has bytes of its own: a version, then the content. The bytes know no end: who stores several gives each a length.
pub trait Codec: Sized {
    /// Appends its bytes.
    fn encode_to(&self, out: &mut Vec<u8>);
    /// From exactly these bytes.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;

    /// Its bytes.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }
}

macro_rules! skeleton {
    ($($t:ty),*) => { $(impl Codec for $t {
        fn encode_to(&self, _: &mut Vec<u8>) { unimplemented!() }
        fn decode(_: &[u8]) -> Result<Self, Malformed> { unimplemented!() }
    })* };
}
skeleton!(
    crate::AttributeValue,
    crate::Item,
    crate::Condition,
    crate::Update,
    crate::Projection,
    crate::KeySchema
);
