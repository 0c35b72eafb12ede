//! Values of a history, interned: a value is looked at once, and from then on is a number that compares in one step.

use crate::table::Table;
use std::fmt::Write;

/// A value of a history. Equal values of one [`Values`] have equal handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);

impl Value {
    /// No value; the first of every [`Values`].
    pub const NIL: Self = Self(0);

    /// A value of a numbering of one's own.
    pub(crate) fn local(number: u32) -> Self {
        Self(number)
    }

    /// The place in the table: dense, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Datum {
    /// Nothing.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number that is no `Int`, in the one spelling of its value: see [`number`].
    Number(Box<str>),
    /// A string.
    Text(Box<str>),
    /// A keyword or symbol, without its colon.
    Keyword(Box<str>),
    /// A vector or list.
    List(Box<[Value]>),
    /// A set, sorted by handle, each once.
    Set(Box<[Value]>),
    /// A map, sorted by the keys' handles, each key once.
    Map(Box<[(Value, Value)]>),
}

/// The value of a number that was written with a fraction, an exponent or too many digits for an `Int`: `1e2` and `100.0` are
/// one, `-0.5` and `-0.50` are. A fraction of zero makes no whole number in EDN, where `(= 1 1.0)` is false; in JSON, which
/// knows one kind of number (`whole`), it does. Of Clojure's other spellings, ratios are reduced (`4/2` is 2) and numbers of
/// another base are what they are (`0x10` is 16, `2r101` is 5); what is none of them stays as it was written.
pub fn number(written: &str, whole: bool) -> Datum {
    let Some(decimal) = Decimal::of(written) else {
        return ratio(written)
            .or_else(|| based(written).map(Datum::Int))
            .unwrap_or_else(|| Datum::Number(written.into()));
    };
    let len = decimal.digits.len() as i64;
    if !decimal.float || (whole && (len..=MOST_WHOLE).contains(&decimal.point)) {
        let text = decimal.plain();
        return text.parse().map_or_else(|_| Datum::Number(text.into()), Datum::Int);
    }
    Datum::Number(decimal.show().into())
}

fn ratio(written: &str) -> Option<Datum> {
    let (above, below) = written.split_once('/')?;
    let (above, below) = (above.parse::<i64>().ok()?, below.parse::<i64>().ok().filter(|&below| below > 0)?);
    let (mut divisor, mut rest) = (above.unsigned_abs(), below.unsigned_abs());
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let divisor = i64::try_from(divisor).ok()?;
    let (above, below) = (above / divisor, below / divisor);
    Some(if below == 1 { Datum::Int(above) } else { Datum::Number(format!("{above}/{below}").into()) })
}

fn based(written: &str) -> Option<i64> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", written.strip_prefix('+').unwrap_or(written)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = if let Some(digits) = hexadecimal {
        (16, digits)
    } else {
        let (radix, digits) = digits.split_once(['r', 'R'])?;
        (radix.parse().ok().filter(|radix| (2..=36).contains(radix))?, digits)
    };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().filter(|_| !digits.starts_with(['+', '-']))
}

/// A whole number with an exponent has at most so many digits; a longer one keeps its exponent.
const MOST_WHOLE: i64 = 400;

/// A decimal number: `0.digits` times ten to the power of `point`.
struct Decimal {
    negative: bool,
    /// Neither the first nor the last is 0; empty for zero.
    digits: String,
    point: i64,
    /// It was written with a fraction or an exponent.
    float: bool,
}

impl Decimal {
    fn of(written: &str) -> Option<Self> {
        let text = written.strip_suffix('M').unwrap_or(written);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let negative = mantissa.starts_with('-');
        let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kept = all.trim_start_matches('0');
        let point = whole.len() as i64 - (all.len() - kept.len()) as i64 + i64::from(exponent);
        let digits = kept.trim_end_matches('0').to_owned();
        let zero = digits.is_empty();
        let float = text.contains(['.', 'e', 'E']) || written.ends_with('M');
        Some(Self { negative: negative && !zero, digits, point: if zero { 0 } else { point }, float })
    }

    /// With all its digits before the point.
    fn plain(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let zeros = usize::try_from(self.point).unwrap_or(0).saturating_sub(self.digits.len());
        let text = format!("{sign}{}{}", self.digits, "0".repeat(zeros));
        if text.is_empty() { "0".to_owned() } else { text }
    }

    /// With a point, and with an exponent where it is very small or large.
    fn show(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let (digits, len) = (&self.digits, self.digits.len() as i64);
        match self.point {
            _ if len == 0 => "0.0".to_owned(),
            point if point >= len && point <= 21 => format!("{}.0", self.plain()),
            point if (1..=21).contains(&point) => {
                let (whole, fraction) = digits.split_at(point as usize);
                format!("{sign}{whole}.{fraction}")
            }
            point if (-5..=0).contains(&point) => format!("{sign}0.{}{digits}", "0".repeat(-point as usize)),
            point => {
                let (first, rest) = digits.split_at(1);
                let rest = if rest.is_empty() { "0" } else { rest };
                format!("{sign}{first}.{rest}e{}", point - 1)
            }
        }
    }
}

/// The values of one history.
#[derive(Clone, Debug)]
pub struct Values {
    data: Vec<Datum>,
    known: Table<Datum, Value>,
    /// Whole numbers are most of most histories: they cost no copy.
    ints: Table<u64, Value>,
    /// The small ones not even a look-up: by the number, nil where it was not met.
    small: Vec<Value>,
}

/// Numbers below have a place of their own, as far as they are met.
const SMALL: usize = 1 << 23;

impl Default for Values {
    fn default() -> Self {
        Self { data: vec![Datum::Nil], known: Table::default(), ints: Table::default(), small: Vec::new() }
    }
}

impl Values {
    /// The handle of a value, given out now if it is new.
    pub fn intern(&mut self, datum: Datum) -> Value {
        match datum {
            Datum::Nil => Value::NIL,
            Datum::Int(number) => self.int(number),
            datum => {
                if let Some(&value) = self.known.get(&datum) {
                    return value;
                }
                let value = self.push(datum.clone());
                self.known.insert(datum, value);
                value
            }
        }
    }

    /// The handle of a whole number.
    pub fn int(&mut self, number: i64) -> Value {
        if let Ok(place) = usize::try_from(number)
            && place < SMALL.min(2 * self.data.len() + 1024)
        {
            return self.small_int(place);
        }
        if let Some(&value) = self.ints.get(&(number as u64)) {
            return value;
        }
        let value = self.push(Datum::Int(number));
        self.ints.insert(number as u64, value);
        value
    }

    fn small_int(&mut self, place: usize) -> Value {
        if place >= self.small.len() {
            self.small.resize(place + 1, Value::NIL);
        }
        if self.small[place] != Value::NIL {
            return self.small[place];
        }
        // It may have been met while there were too few values for a place of its own.
        let value = match self.ints.get(&(place as u64)) {
            Some(&value) => value,
            None => self.push(Datum::Int(place as i64)),
        };
        self.small[place] = value;
        value
    }

    /// The handle of a value, if it occurs.
    pub fn find(&self, datum: &Datum) -> Option<Value> {
        match datum {
            Datum::Nil => Some(Value::NIL),
            Datum::Int(number) => {
                let small = usize::try_from(*number).ok().and_then(|place| self.small.get(place).copied());
                small
                    .filter(|&value| value != Value::NIL)
                    .or_else(|| self.ints.get(&(*number as u64)).copied())
            }
            datum => self.known.get(datum).copied(),
        }
    }

    /// The value as a history would write it.
    pub fn show(&self, value: Value) -> String {
        let mut text = String::new();
        self.write(value, &mut text);
        text
    }

    fn write(&self, value: Value, text: &mut String) {
        match self.datum(value) {
            Datum::Nil => text.push_str("nil"),
            Datum::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
            Datum::Int(number) => text.push_str(&number.to_string()),
            Datum::Number(number) => text.push_str(number),
            Datum::Text(string) => _ = write!(text, "{string:?}"),
            Datum::Keyword(word) => text.push_str(word),
            Datum::List(members) => self.members(members, "[", ']', text),
            Datum::Set(members) => self.members(members, "#{", '}', text),
            Datum::Map(pairs) => {
                let flat: Vec<Value> = pairs.iter().flat_map(|&(key, value)| [key, value]).collect();
                self.members(&flat, "{", '}', text);
            }
        }
    }

    fn members(&self, members: &[Value], open: &str, close: char, text: &mut String) {
        text.push_str(open);
        for (place, &member) in members.iter().enumerate() {
            if place > 0 {
                text.push(' ');
            }
            self.write(member, text);
        }
        text.push(close);
    }

    /// What a handle of this table stands for.
    pub fn datum(&self, value: Value) -> &Datum {
        &self.data[value.index()]
    }

    /// How many values there are, nil among them.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Never: nil is always there.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn push(&mut self, datum: Datum) -> Value {
        let value = Value(u32::try_from(self.data.len()).expect("a reader refuses histories of 2^32 values"));
        self.data.push(datum);
        value
    }
}
