//! Numbers as DynamoDB has them: decimal, exact, up to 38 significant digits, magnitudes from 1E-130 to 9.99…E+125.
//!
//! A [`Number`] is kept in one form only: its coefficient does not end in a zero, and zero has the exponent zero. So equal
//! numbers are equal values, whatever text they came from.

/// A decimal number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Number {
    /// Below 10^38 in magnitude; its last digit is not zero, unless it is zero.
    coefficient: i128,
    /// The power of ten that the coefficient is multiplied with.
    exponent: i16,
}

/// Why a text or a result is not a [`Number`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberError {
    /// The text is not a number.
    NotANumber,
    /// More than 38 significant digits.
    TooPrecise,
    /// Larger than 9.99…E+125 in magnitude.
    Overflow,
    /// Smaller than 1E-130 in magnitude, and not zero.
    Underflow,
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self { coefficient: 0, exponent: 0 };

    /// From a text: sign, digits with or without a point, exponent.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let _ = text;
        unimplemented!()
    }

    /// The exact sum, if it is a number.
    pub fn plus(self, other: Self) -> Result<Self, NumberError> {
        let _ = other;
        unimplemented!()
    }

    /// The exact difference, if it is a number.
    pub fn minus(self, other: Self) -> Result<Self, NumberError> {
        let _ = other;
        unimplemented!()
    }

    /// As an integer, if it is one that fits (times of expiry, list indexes).
    pub fn to_i64(self) -> Option<i64> {
        unimplemented!()
    }

    /// Appends bytes whose order is the order of the numbers; no encoding is the beginning of another.
    pub fn encode_ordered(self, out: &mut Vec<u8>) {
        let _ = out;
        unimplemented!()
    }
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        let _ = n;
        unimplemented!()
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let _ = other;
        unimplemented!()
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        unimplemented!()
    }
}
