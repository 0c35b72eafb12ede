//! Reading and writing the primitive parts of every format here: little-endian integers, variable-length lengths, byte
//! strings that share the buffer they came in. Nothing is allocated by a length that was not checked against what is there.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The bytes do not have the form they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed bytes")
    }
}

impl std::error::Error for Malformed {}

/// Result of reading.
pub type Read<T> = Result<T, Malformed>;

/// Reads from a shared buffer.
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Over these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// How much is left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing may be left.
    pub fn end(&self) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// One byte.
    pub fn u8(&mut self) -> Read<u8> {
        self.rest.try_get_u8().map_err(|_| Malformed)
    }

    /// A flag: 0 or 1.
    pub fn flag(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Read<u32> {
        self.rest.try_get_u32_le().map_err(|_| Malformed)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Read<u64> {
        self.rest.try_get_u64_le().map_err(|_| Malformed)
    }

    /// A variable-length number, seven bits a byte.
    pub fn varint(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A signed number in zigzag form.
    pub fn int(&mut self) -> Read<i64> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Read<Bytes> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        if len > self.rest.len() {
            return Err(Malformed);
        }
        Ok(self.rest.split_to(len))
    }

    /// How many elements follow, each at least one byte.
    pub fn count(&mut self) -> Read<usize> {
        let n = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        if n > self.rest.len() { Err(Malformed) } else { Ok(n) }
    }
}

/// Writes into a growing buffer.
pub trait Write {
    /// A variable-length number.
    fn varint(&mut self, n: u64);
    /// A signed number.
    fn int(&mut self, n: i64);
    /// A byte string with its length.
    fn string(&mut self, bytes: &[u8]);
    /// A flag.
    fn flag(&mut self, flag: bool);
}

impl Write for BytesMut {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.put_u8(n as u8 | 0x80);
            n >>= 7;
        }
        self.put_u8(n as u8);
    }

    fn int(&mut self, n: i64) {
        self.varint(((n << 1) ^ (n >> 63)) as u64);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.put_slice(bytes);
    }

    fn flag(&mut self, flag: bool) {
        self.put_u8(u8::from(flag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_come_back() {
        let mut out = BytesMut::new();
        let numbers = [0, 1, 127, 128, 300, u64::MAX];
        let ints = [0, -1, 1, i64::MIN, i64::MAX];
        for n in numbers {
            out.varint(n);
        }
        for n in ints {
            out.int(n);
        }
        out.string(b"key");
        let mut reader = Reader::new(out.freeze());
        for n in numbers {
            assert_eq!(reader.varint(), Ok(n));
        }
        for n in ints {
            assert_eq!(reader.int(), Ok(n));
        }
        assert_eq!(reader.bytes(), Ok(Bytes::from_static(b"key")));
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(Reader::new(Bytes::from_static(&[0xFF; 10])).varint(), Err(Malformed));
        assert_eq!(Reader::new(Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0x7F])).bytes(), Err(Malformed));
    }
}
