//! Numbers: texts, sizes, order, arithmetic against digits on paper.

use crate::random;
use quorate_base::Rng;
use quorate_item::Number;
use quorate_item::number::NumberError::{self, NotANumber, Overflow, TooPrecise, Underflow};

const NINES: &str = "99999999999999999999999999999999999999";

/// Claim: a text is read and printed as DynamoDB does it, or refused for its reason.
#[test]
fn texts() {
    let zeros = |n: usize| "0".repeat(n);
    let table: &[(&str, Result<String, NumberError>)] = &[
        ("0", Ok("0".into())),
        ("-0", Ok("0".into())),
        ("-0.00e99999999999999999999", Ok("0".into())),
        ("00042", Ok("42".into())),
        ("+7", Ok("7".into())),
        ("1.0", Ok("1".into())),
        ("3.1400", Ok("3.14".into())),
        (".5", Ok("0.5".into())),
        ("5.", Ok("5".into())),
        ("1.5E2", Ok("150".into())),
        ("1.5e+2", Ok("150".into())),
        ("15e-1", Ok("1.5".into())),
        ("-0.00012", Ok("-0.00012".into())),
        ("100", Ok("100".into())),
        (NINES, Ok(NINES.into())),
        ("1E125", Ok(format!("1{}", zeros(125)))),
        ("9.9999999999999999999999999999999999999E+125", Ok(format!("{NINES}{}", zeros(88)))),
        ("1E-130", Ok(format!("0.{}1", zeros(129)))),
        ("0.1E-129", Ok(format!("0.{}1", zeros(129)))),
        ("1E126", Err(Overflow)),
        ("-1E126", Err(Overflow)),
        ("1E99999999999999999999", Err(Overflow)),
        ("1E-131", Err(Underflow)),
        ("1E-99999999999999999999", Err(Underflow)),
        ("123456789012345678901234567890123456789", Err(TooPrecise)),
        ("1000000000000000000000000000000000000001", Err(TooPrecise)),
        ("100000000000000000000000000000000000000000", Ok(format!("1{}", zeros(41)))),
        ("", Err(NotANumber)),
        (".", Err(NotANumber)),
        ("-", Err(NotANumber)),
        ("+-1", Err(NotANumber)),
        ("e5", Err(NotANumber)),
        ("1e", Err(NotANumber)),
        ("1e+", Err(NotANumber)),
        ("1e1e1", Err(NotANumber)),
        ("1.2.3", Err(NotANumber)),
        (" 1", Err(NotANumber)),
        ("1 ", Err(NotANumber)),
        ("0x1", Err(NotANumber)),
        ("NaN", Err(NotANumber)),
        ("Infinity", Err(NotANumber)),
        ("1_000", Err(NotANumber)),
        ("١", Err(NotANumber)),
    ];
    for (text, expected) in table {
        assert_eq!(Number::parse(text).map(|n| n.to_string()), *expected, "{text}");
    }
}

/// Claim: a number costs the bytes that others measured at the limit of an item.
#[test]
fn sizes() {
    let table = [
        ("0", 1),
        ("-0", 1),
        ("1", 2),
        ("12", 2),
        ("123", 3),
        ("1234", 3),
        ("12345678901234567890123456789012345678", 20),
        ("0042", 2),
        ("100", 2),
        ("1010", 3),
        ("0.0000001", 2),
        ("1E125", 2),
        ("1E-100", 2),
        ("1.5", 3),
        ("1.200", 3),
        ("1.234", 4),
        ("3.14159", 5),
        ("123456", 4),
        ("100.5", 4),
        ("0.15", 2),
        ("-42", 3),
    ];
    for (text, size) in table {
        assert_eq!(Number::parse(text).unwrap().size(), size, "{text}");
    }
}

/// Claim: sums and differences are exact, and what is no number is an overflow or an underflow.
#[test]
fn sums() {
    let table = [
        ("1", "2", Ok("3"), Ok("-1")),
        ("0.1", "0.2", Ok("0.3"), Ok("-0.1")),
        ("5", "5", Ok("10"), Ok("0")),
        ("0", "-7", Ok("-7"), Ok("7")),
        ("1E50", "1", Err(Overflow), Err(Overflow)),
        ("1E37", "1", Ok("10000000000000000000000000000000000001"), Ok(&NINES[1..])),
        ("1E38", "1", Err(Overflow), Ok(NINES)),
        (
            NINES,
            "1",
            Ok("100000000000000000000000000000000000000"),
            Ok("99999999999999999999999999999999999998"),
        ),
        ("9.9E125", "9.9E125", Err(Overflow), Ok("0")),
        ("1.1E-130", "1E-130", Ok("2.1E-130"), Err(Underflow)),
        ("1E-130", "1E-130", Ok("2e-130"), Ok("0")),
        ("1E125", "1E-130", Err(Overflow), Err(Overflow)),
    ];
    for (a, b, plus, minus) in table {
        let (a, b) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
        let number = |text: Result<&str, NumberError>| text.map(|text| Number::parse(text).unwrap());
        assert_eq!(a.plus(b), number(plus), "{a} + {b}");
        assert_eq!(a.minus(b), number(minus), "{a} - {b}");
    }
}

/// Claim: arithmetic, order and ordered bytes agree with digits on paper, for 8,000 pairs from a seed.
#[test]
fn numbers_agree_with_paper() {
    let mut rng = Rng::stream(1, "numbers");
    for _ in 0..8_000 {
        let (a, b) = (random::number(&mut rng), random::number(&mut rng));
        let (on_a, on_b) = (Paper::of(a), Paper::of(b));
        assert_eq!(a.cmp(&b), on_a.compare(&on_b), "{a} <=> {b}");
        assert_eq!(a.plus(b), on_a.plus(&on_b).number(), "{a} + {b}");
        assert_eq!(Number::parse(&a.to_string()), Ok(a));
        let bytes = |n: Number| {
            let mut out = Vec::new();
            n.encode_ordered(&mut out);
            out
        };
        assert_eq!(bytes(a).cmp(&bytes(b)), a.cmp(&b), "{a} <=> {b}");
        assert_eq!(Number::decode_ordered(&bytes(a)), Some((a, bytes(a).len())));
        assert!(a == b || !bytes(a).starts_with(&bytes(b)), "{a}, {b}");
    }
}

/// Claim: integers come and go.
#[test]
fn integers() {
    for n in [0, 1, -1, 10, -100, 1_700_000_000, i64::MAX, i64::MIN] {
        assert_eq!(Number::from(n).to_i64(), Some(n));
        assert_eq!(Number::from(n), Number::parse(&n.to_string()).unwrap());
    }
    for text in ["1.5", "1E19", "-1E100", "0.1"] {
        assert_eq!(Number::parse(text).unwrap().to_i64(), None, "{text}");
    }
}

/// Claim: a time with a fraction is one of its second.
#[test]
fn without_their_fractions() {
    for (text, whole) in [
        ("5", Some(5)),
        ("1700000000.9", Some(1_700_000_000)),
        ("-1.5", Some(-1)),
        ("0.9", Some(0)),
        ("1E-130", Some(0)),
        ("12E2", Some(1200)),
        ("1E19", None),
    ] {
        assert_eq!(Number::parse(text).unwrap().whole(), whole, "{text}");
    }
}

/// A number as its digits on paper, the first for 10^126, the last for 10^-168, each with the sign of the number.
struct Paper(Vec<i32>);

const POINT: usize = 127;
const PLACES: usize = POINT + 168;

impl Paper {
    fn of(number: Number) -> Self {
        let text = number.to_string();
        let (sign, text) = text.strip_prefix('-').map_or((1, text.as_str()), |text| (-1, text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut digits = vec![0; PLACES];
        let first = POINT - whole.len();
        for (i, c) in whole.chars().chain(fraction.chars()).enumerate() {
            digits[first + i] = sign * i32::try_from(c.to_digit(10).unwrap()).unwrap();
        }
        Self(digits)
    }

    fn sign(&self) -> i32 {
        self.0.iter().find(|digit| **digit != 0).map_or(0, |digit| digit.signum())
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }

    /// Adds place by place; places of different signs borrow from their left.
    fn plus(&self, other: &Self) -> Self {
        let mut digits: Vec<i32> = self.0.iter().zip(&other.0).map(|(a, b)| a + b).collect();
        let sign = Self(digits.clone()).sign();
        let mut carry = 0;
        for digit in digits.iter_mut().rev() {
            let sum = sign * *digit + carry;
            carry = sum.div_euclid(10);
            *digit = sign * sum.rem_euclid(10);
        }
        assert_eq!(carry, 0);
        Self(digits)
    }

    fn number(&self) -> Result<Number, NumberError> {
        let Some(first) = self.0.iter().position(|digit| *digit != 0) else { return Ok(Number::ZERO) };
        let last = self.0.iter().rposition(|digit| *digit != 0).unwrap();
        let magnitude = 126 - i64::try_from(first).unwrap();
        if magnitude > 125 {
            return Err(Overflow);
        }
        if magnitude < -130 {
            return Err(Underflow);
        }
        if last - first >= 38 {
            return Err(Overflow);
        }
        let digits: String = self.0[first..=last].iter().map(|digit| digit.abs().to_string()).collect();
        let sign = if self.sign() < 0 { "-" } else { "" };
        Number::parse(&format!("{sign}{digits}E{}", magnitude - i64::try_from(last - first).unwrap()))
    }
}
