//! The bytes of items and of parsed expressions, in the log and in the state: versioned, compact, refusing what is not
//! theirs. Nothing is allocated by a length that was not checked against what is there, and nothing is nested deeper
//! than what can be written.
//!
//! Everything has one form only. Numbers are seven bits a byte, texts and bytes have their length before them, maps and
//! sets stand in order and without doubles. So equal values have equal bytes, and what is read and written again is the
//! same.

use crate::condition::{Comparator, Condition, Operand};
use crate::key::{KeyAttribute, KeySchema, KeyType};
use crate::number::Number;
use crate::path::{Path, Step};
use crate::projection::Projection;
use crate::update::{Source, Update};
use crate::value::{AttributeValue, DEPTH, Item, Map, Type};
use std::collections::BTreeSet;

/// The first byte of what is written here is the first version that has it: 2 has `size` of a text in code units of UTF-16, in
/// conditions, and all else is of version 1.
const VERSION: u8 = 2;
/// Conditions and sources may be nested this deep: an expression may have 300 operators. One that was made of older
/// parameters is flat.
pub(crate) const NESTING: usize = 310;

/// The bytes do not have the form they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed bytes of an item or an expression")
    }
}

impl std::error::Error for Malformed {}

/// What has bytes of its own: a version, then the content. The bytes know no end: who stores several gives each a
/// length.
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

impl<T: Content> Codec for T {
    fn encode_to(&self, out: &mut Vec<u8>) {
        out.push(self.version());
        self.write(out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: bytes };
        let version = reader.byte()?;
        if !(1..=VERSION).contains(&version) {
            return Err(Malformed);
        }
        let content = Self::read(&mut reader)?;
        if reader.rest.is_empty() && content.version() == version { Ok(content) } else { Err(Malformed) }
    }
}

type Read<T> = Result<T, Malformed>;

/// What stands after the version.
pub(crate) trait Content: Sized {
    /// The first version that has all of it.
    fn version(&self) -> u8 {
        1
    }

    fn write(&self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>) -> Read<Self>;
}

/// Reads from bytes.
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A number in its shortest form.
    fn number(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self) -> Read<&'b [u8]> {
        let len = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self) -> Read<String> {
        std::str::from_utf8(self.bytes()?).map(str::to_string).map_err(|_| Malformed)
    }

    /// How many elements follow, each of at least one byte.
    fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if count > self.rest.len() { Err(Malformed) } else { Ok(count) }
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.count()?;
        // An element is larger in memory than its bytes: room for what may be there, not for what is claimed.
        let mut out = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            out.push(each(self)?);
        }
        Ok(out)
    }

    /// Elements in order, none twice.
    fn set<T: Ord>(&mut self, mut each: impl FnMut(&mut Self) -> Read<T>) -> Read<BTreeSet<T>> {
        let list = self.list(&mut each)?;
        if list.is_empty() || list.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Malformed);
        }
        Ok(list.into_iter().collect())
    }

    fn decimal(&mut self) -> Read<Number> {
        let zigzag = self.number()?;
        let exponent = i16::try_from((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)).map_err(|_| Malformed)?;
        let (sign, mut magnitude) = (self.byte()?, 0_u128);
        if sign > 1 {
            return Err(Malformed);
        }
        let digits = self.bytes()?;
        if digits.len() > 16 || digits.first() == Some(&0) || (sign == 1 && digits.is_empty()) {
            return Err(Malformed);
        }
        for byte in digits {
            magnitude = magnitude << 8 | u128::from(*byte);
        }
        let coefficient = i128::try_from(magnitude).map_err(|_| Malformed)?;
        Number::from_parts(if sign == 1 { -coefficient } else { coefficient }, exponent).ok_or(Malformed)
    }

    fn map(&mut self, depth: usize) -> Read<Map> {
        let mut out = Map::new();
        for (name, value) in self.list(|r| Ok((r.text()?, r.value(depth)?)))? {
            if out.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(Malformed);
            }
            out.insert(name, value);
        }
        Ok(out)
    }

    fn kind(&mut self) -> Read<Type> {
        Type::ALL.get(usize::from(self.byte()?)).copied().ok_or(Malformed)
    }

    /// A value, `depth` levels below the outermost.
    fn value(&mut self, depth: usize) -> Read<AttributeValue> {
        // Some slack: what may be stored is checked where it is made, and what was written must be read again.
        if depth > 2 * DEPTH {
            return Err(Malformed);
        }
        Ok(match self.kind()? {
            Type::S => AttributeValue::S(self.text()?),
            Type::N => AttributeValue::N(self.decimal()?),
            Type::B => AttributeValue::B(self.bytes()?.to_vec()),
            Type::Bool => match self.byte()? {
                0 => AttributeValue::Bool(false),
                1 => AttributeValue::Bool(true),
                _ => return Err(Malformed),
            },
            Type::Null => AttributeValue::Null,
            Type::M => AttributeValue::M(self.map(depth + 1)?),
            Type::L => AttributeValue::L(self.list(|r| r.value(depth + 1))?),
            Type::Ss => AttributeValue::Ss(self.set(Self::text)?),
            Type::Ns => AttributeValue::Ns(self.set(Self::decimal)?),
            Type::Bs => AttributeValue::Bs(self.set(|r| Ok(r.bytes()?.to_vec()))?),
        })
    }

    fn path(&mut self) -> Read<Path> {
        let root = self.text()?;
        let steps = self.list(|r| {
            Ok(match r.byte()? {
                0 => Step::Field(r.text()?),
                1 => Step::Index(u32::try_from(r.number()?).map_err(|_| Malformed)?),
                _ => return Err(Malformed),
            })
        })?;
        Ok(Path { root, steps })
    }

    fn operand(&mut self) -> Read<Operand> {
        Ok(match self.byte()? {
            0 => Operand::Path(self.path()?),
            1 => Operand::Value(self.value(1)?),
            2 => Operand::SizeInBytes(self.path()?),
            3 => Operand::Size(self.path()?),
            _ => return Err(Malformed),
        })
    }

    fn condition(&mut self, depth: usize) -> Read<Condition> {
        if depth > NESTING {
            return Err(Malformed);
        }
        Ok(match self.byte()? {
            0 => Condition::All(self.list(|r| r.condition(depth + 1))?),
            1 => Condition::Any(self.list(|r| r.condition(depth + 1))?),
            2 => Condition::Not(Box::new(self.condition(depth + 1)?)),
            code => self.comparison(code)?,
        })
    }

    /// A condition that has no others in it. (Apart, so that what nests needs little of the stack.)
    fn comparison(&mut self, code: u8) -> Read<Condition> {
        Ok(match code {
            3 => {
                let comparator = Comparator::ALL.get(usize::from(self.byte()?)).copied().ok_or(Malformed)?;
                Condition::Compare(comparator, self.operand()?, self.operand()?)
            }
            4 => Condition::Between(self.operand()?, self.operand()?, self.operand()?),
            5 => Condition::In(self.operand()?, self.list(Self::operand)?),
            6 => Condition::Exists(self.path()?),
            7 => Condition::NotExists(self.path()?),
            8 => Condition::IsType(self.path()?, self.kind()?),
            9 => Condition::BeginsWith(self.operand()?, self.operand()?),
            10 => Condition::Contains(self.operand()?, self.operand()?),
            _ => return Err(Malformed),
        })
    }

    fn source(&mut self, depth: usize) -> Read<Source> {
        if depth > NESTING {
            return Err(Malformed);
        }
        let next = |reader: &mut Self| reader.source(depth + 1).map(Box::new);
        Ok(match self.byte()? {
            0 => Source::Value(self.value(1)?),
            1 => Source::Path(self.path()?),
            2 => Source::Plus(next(self)?, next(self)?),
            3 => Source::Minus(next(self)?, next(self)?),
            4 => Source::IfNotExists(self.path()?, next(self)?),
            5 => Source::ListAppend(next(self)?, next(self)?),
            _ => return Err(Malformed),
        })
    }

    fn key_attributes(&mut self) -> Read<Vec<KeyAttribute>> {
        self.list(|r| {
            let kind = match r.byte()? {
                0 => KeyType::S,
                1 => KeyType::N,
                2 => KeyType::B,
                _ => return Err(Malformed),
            };
            Ok(KeyAttribute { name: r.text()?, kind })
        })
    }
}

fn put_number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_list<T>(
    list: impl ExactSizeIterator<Item = T>,
    out: &mut Vec<u8>,
    mut each: impl FnMut(T, &mut Vec<u8>),
) {
    put_number(list.len() as u64, out);
    for element in list {
        each(element, out);
    }
}

fn put_decimal(number: Number, out: &mut Vec<u8>) {
    let (coefficient, exponent) = number.parts();
    let exponent = i64::from(exponent);
    put_number(((exponent << 1) ^ (exponent >> 63)) as u64, out);
    out.push(u8::from(coefficient < 0));
    let bytes = coefficient.unsigned_abs().to_be_bytes();
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    put_bytes(&bytes[zeros..], out);
}

fn put_map(map: &Map, out: &mut Vec<u8>) {
    put_list(map.iter(), out, |(name, value), out| {
        put_bytes(name.as_bytes(), out);
        put_value(value, out);
    });
}

fn put_value(value: &AttributeValue, out: &mut Vec<u8>) {
    out.push(value.kind() as u8);
    match value {
        AttributeValue::S(text) => put_bytes(text.as_bytes(), out),
        AttributeValue::N(number) => put_decimal(*number, out),
        AttributeValue::B(bytes) => put_bytes(bytes, out),
        AttributeValue::Bool(truth) => out.push(u8::from(*truth)),
        AttributeValue::Null => {}
        AttributeValue::M(map) => put_map(map, out),
        AttributeValue::L(list) => put_list(list.iter(), out, put_value),
        AttributeValue::Ss(set) => put_list(set.iter(), out, |text, out| put_bytes(text.as_bytes(), out)),
        AttributeValue::Ns(set) => put_list(set.iter(), out, |number, out| put_decimal(*number, out)),
        AttributeValue::Bs(set) => put_list(set.iter(), out, |bytes, out| put_bytes(bytes, out)),
    }
}

fn put_path(path: &Path, out: &mut Vec<u8>) {
    put_bytes(path.root.as_bytes(), out);
    put_list(path.steps.iter(), out, |step, out| match step {
        Step::Field(name) => {
            out.push(0);
            put_bytes(name.as_bytes(), out);
        }
        Step::Index(index) => {
            out.push(1);
            put_number(u64::from(*index), out);
        }
    });
}

fn put_operand(operand: &Operand, out: &mut Vec<u8>) {
    match operand {
        Operand::Path(path) => {
            out.push(0);
            put_path(path, out);
        }
        Operand::Value(value) => {
            out.push(1);
            put_value(value, out);
        }
        Operand::SizeInBytes(path) => {
            out.push(2);
            put_path(path, out);
        }
        Operand::Size(path) => {
            out.push(3);
            put_path(path, out);
        }
    }
}

fn put_condition(condition: &Condition, out: &mut Vec<u8>) {
    let mut code = |code: u8| out.push(code);
    match condition {
        Condition::All(_) => code(0),
        Condition::Any(_) => code(1),
        Condition::Not(_) => code(2),
        Condition::Compare(comparator, ..) => {
            code(3);
            code(*comparator as u8);
        }
        Condition::Between(..) => code(4),
        Condition::In(..) => code(5),
        Condition::Exists(_) => code(6),
        Condition::NotExists(_) => code(7),
        Condition::IsType(..) => code(8),
        Condition::BeginsWith(..) => code(9),
        Condition::Contains(..) => code(10),
    }
    match condition {
        Condition::All(list) | Condition::Any(list) => put_list(list.iter(), out, put_condition),
        Condition::Not(inner) => put_condition(inner, out),
        Condition::Compare(_, a, b) | Condition::BeginsWith(a, b) | Condition::Contains(a, b) => {
            put_operand(a, out);
            put_operand(b, out);
        }
        Condition::Between(a, low, high) => {
            put_operand(a, out);
            put_operand(low, out);
            put_operand(high, out);
        }
        Condition::In(a, list) => {
            put_operand(a, out);
            put_list(list.iter(), out, put_operand);
        }
        Condition::Exists(path) | Condition::NotExists(path) => put_path(path, out),
        Condition::IsType(path, kind) => {
            put_path(path, out);
            out.push(*kind as u8);
        }
    }
}

fn put_source(source: &Source, out: &mut Vec<u8>) {
    match source {
        Source::Value(value) => {
            out.push(0);
            put_value(value, out);
        }
        Source::Path(path) => {
            out.push(1);
            put_path(path, out);
        }
        Source::Plus(a, b) | Source::Minus(a, b) | Source::ListAppend(a, b) => {
            out.push(match source {
                Source::Plus(..) => 2,
                Source::Minus(..) => 3,
                _ => 5,
            });
            put_source(a, out);
            put_source(b, out);
        }
        Source::IfNotExists(path, other) => {
            out.push(4);
            put_path(path, out);
            put_source(other, out);
        }
    }
}

fn put_key_attributes(attributes: &[KeyAttribute], out: &mut Vec<u8>) {
    put_list(attributes.iter(), out, |attribute, out| {
        out.push(attribute.kind as u8);
        put_bytes(attribute.name.as_bytes(), out);
    });
}

impl Content for AttributeValue {
    fn write(&self, out: &mut Vec<u8>) {
        put_value(self, out);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        reader.value(1)
    }
}

impl Content for Item {
    fn write(&self, out: &mut Vec<u8>) {
        put_map(&self.0, out);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        reader.map(1).map(Self)
    }
}

impl Content for Condition {
    fn version(&self) -> u8 {
        if self.measures() { 2 } else { 1 }
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_condition(self, out);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        reader.condition(1)
    }
}

impl Content for Update {
    fn write(&self, out: &mut Vec<u8>) {
        put_list(self.set.iter(), out, |(path, source), out| {
            put_path(path, out);
            put_source(source, out);
        });
        put_list(self.remove.iter(), out, put_path);
        for pairs in [&self.add, &self.delete] {
            put_list(pairs.iter(), out, |(path, value), out| {
                put_path(path, out);
                put_value(value, out);
            });
        }
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let pair = |r: &mut Reader<'_>| Ok((r.path()?, r.value(1)?));
        Ok(Self {
            set: reader.list(|r| Ok((r.path()?, r.source(1)?)))?,
            remove: reader.list(Reader::path)?,
            add: reader.list(pair)?,
            delete: reader.list(pair)?,
        })
    }
}

impl Content for Projection {
    fn write(&self, out: &mut Vec<u8>) {
        put_list(self.paths.iter(), out, put_path);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self { paths: reader.list(Reader::path)? })
    }
}

impl Content for KeySchema {
    fn write(&self, out: &mut Vec<u8>) {
        put_key_attributes(&self.partition, out);
        put_key_attributes(&self.sort, out);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self { partition: reader.key_attributes()?, sort: reader.key_attributes()? })
    }
}
