//! Numbers as DynamoDB has them: decimal, exact, up to 38 significant digits, magnitudes from 1E-130 to 9.99…E+125.
//!
//! A [`Number`] is kept in one form only: its coefficient does not end in a zero, and zero has the exponent zero. So
//! equal numbers are equal values, whatever text they came from. It is printed without an exponent, as DynamoDB answers
//! it: `1E125` comes back as a one with 125 zeros.
//!
//! A sum that needs more than 38 digits is an overflow, as at DynamoDB, not a rounded number.
//!
//! Doubt: which texts DynamoDB takes besides those of its documentation. Here a sign, digits with or without a point
//! and an exponent are; blanks, `1_000`, `0x1`, `NaN` and a point alone are not.

use std::cmp::Ordering;

/// Significant digits of a number.
const DIGITS: u32 = 38;
/// 10^38: coefficients are below it.
const LIMIT: i128 = 10_i128.pow(DIGITS);
/// The largest power of ten of a first digit.
const MAGNITUDE_MAX: i32 = 125;
/// The smallest power of ten of a first digit.
const MAGNITUDE_MIN: i32 = -130;

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

impl NumberError {
    /// What DynamoDB says of it; `given` is the text that was not a number.
    pub fn message(self, given: &str) -> String {
        match self {
            Self::NotANumber if given.is_empty() => {
                "The parameter cannot be converted to a numeric value".into()
            }
            Self::NotANumber => format!("The parameter cannot be converted to a numeric value: {given}"),
            Self::TooPrecise => "Attempting to store more than 38 significant digits in a Number".into(),
            Self::Overflow => {
                "Number overflow. Attempting to store a number with magnitude larger than supported range"
                    .into()
            }
            Self::Underflow => {
                "Number underflow. Attempting to store a number with magnitude smaller than supported range"
                    .into()
            }
        }
    }
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self { coefficient: 0, exponent: 0 };

    /// From a text: sign, digits with or without a point, exponent.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, parse_power(power)?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.len() + fraction.len() == 0 || !digits().all(|b| b.is_ascii_digit()) {
            return Err(NumberError::NotANumber);
        }
        let Some(first) = digits().position(|b| b != b'0') else { return Ok(Self::ZERO) };
        let last = digits().rposition_of_nonzero();
        let magnitude = power.saturating_add(whole.len() as i64 - 1 - first as i64);
        check_magnitude(magnitude)?;
        if last - first >= DIGITS as usize {
            return Err(NumberError::TooPrecise);
        }
        let coefficient =
            digits().skip(first).take(last - first + 1).fold(0_i128, |n, b| n * 10 + i128::from(b - b'0'));
        Ok(Self {
            coefficient: if negative { -coefficient } else { coefficient },
            exponent: (magnitude - (last - first) as i64) as i16,
        })
    }

    /// From what is stored; refused unless it is the one form of a number in range.
    pub(crate) fn from_parts(coefficient: i128, exponent: i16) -> Option<Self> {
        let number = Self { coefficient, exponent };
        let canonical = match coefficient {
            0 => exponent == 0,
            _ => coefficient % 10 != 0 && coefficient.unsigned_abs() < LIMIT as u128,
        };
        let in_range = coefficient == 0 || check_magnitude(i64::from(number.magnitude())).is_ok();
        (canonical && in_range).then_some(number)
    }

    /// Coefficient and power of ten.
    pub(crate) fn parts(self) -> (i128, i16) {
        (self.coefficient, self.exponent)
    }

    /// The exact sum, if it is a number; one digit too many is an overflow, as at DynamoDB.
    pub fn plus(self, other: Self) -> Result<Self, NumberError> {
        let (low, high) = if self.exponent <= other.exponent { (self, other) } else { (other, self) };
        if high.coefficient == 0 {
            return Ok(low);
        }
        if low.coefficient == 0 {
            return Ok(high);
        }
        let shift = u32::from(low.exponent.abs_diff(high.exponent));
        let shifted = 10_i128.checked_pow(shift).and_then(|power| high.coefficient.checked_mul(power));
        // Two coefficients that do not meet within the digits of an i128 have a sum of more than 38 digits.
        let sum =
            shifted.and_then(|shifted| shifted.checked_add(low.coefficient)).ok_or(NumberError::Overflow)?;
        Self::normal(sum, low.exponent)
    }

    /// The exact difference, if it is a number.
    pub fn minus(self, other: Self) -> Result<Self, NumberError> {
        self.plus(Self { coefficient: -other.coefficient, ..other })
    }

    fn normal(mut coefficient: i128, mut exponent: i16) -> Result<Self, NumberError> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        while coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        let number = Self { coefficient, exponent };
        check_magnitude(i64::from(number.magnitude()))?;
        if number.digits() > DIGITS { Err(NumberError::Overflow) } else { Ok(number) }
    }

    /// How many significant digits it has; zero has none.
    fn digits(self) -> u32 {
        self.coefficient.unsigned_abs().checked_ilog10().map_or(0, |log| log + 1)
    }

    /// The power of ten of its first digit.
    fn magnitude(self) -> i32 {
        i32::from(self.exponent) + self.digits() as i32 - 1
    }

    /// Its size in bytes, as DynamoDB counts it: one byte, one for each two digits before and after the point, one for
    /// a minus. (Measured by others at the limit of an item, to the byte; the documentation says less.)
    pub fn size(self) -> usize {
        if self.coefficient == 0 {
            return 1;
        }
        let digits = i32::try_from(self.digits()).unwrap_or(i32::MAX);
        let fraction = i32::from(self.exponent).min(0).unsigned_abs().min(digits as u32);
        let whole = (digits as u32 - fraction) as usize;
        1 + whole.div_ceil(2) + (fraction as usize).div_ceil(2) + usize::from(self.coefficient < 0)
    }

    /// As an integer, if it is one that fits (times of expiry, list indexes).
    pub fn to_i64(self) -> Option<i64> {
        let power = 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        i64::try_from(self.coefficient.checked_mul(power)?).ok()
    }

    /// Without what stands behind its point, if what is left fits.
    pub fn whole(self) -> Option<i64> {
        if self.exponent >= 0 {
            return self.to_i64();
        }
        // Without its fraction it is nothing where the point stands before all of its digits.
        let power = 10_i128.checked_pow(u32::from(self.exponent.unsigned_abs()));
        i64::try_from(power.map_or(0, |power| self.coefficient / power)).ok()
    }

    /// Appends bytes whose order is the order of the numbers; no encoding is the beginning of another.
    ///
    /// One byte of sign. Then, unless it is zero: one of magnitude, the digits in pairs from the first on (each plus
    /// one), and a zero byte; for negative numbers all of these inverted.
    pub fn encode_ordered(self, out: &mut Vec<u8>) {
        if self.coefficient == 0 {
            out.push(ordered::ZERO);
            return;
        }
        let flip = if self.coefficient < 0 { 0xFF } else { 0 };
        out.push(if self.coefficient < 0 { ordered::NEGATIVE } else { ordered::POSITIVE });
        out.push((self.magnitude() - MAGNITUDE_MIN) as u8 ^ flip);
        let digits = self.coefficient.unsigned_abs().to_string();
        for pair in digits.as_bytes().chunks(2) {
            let tens = pair[0] - b'0';
            let ones = pair.get(1).map_or(0, |b| b - b'0');
            out.push((tens * 10 + ones + 1) ^ flip);
        }
        out.push(flip);
    }

    /// Reads what [`encode_ordered`](Self::encode_ordered) wrote, and says how many bytes it was.
    pub fn decode_ordered(bytes: &[u8]) -> Option<(Self, usize)> {
        let flip = match *bytes.first()? {
            ordered::ZERO => return Some((Self::ZERO, 1)),
            ordered::NEGATIVE => 0xFF,
            ordered::POSITIVE => 0,
            _ => return None,
        };
        let magnitude = i32::from(bytes.get(1)? ^ flip) + MAGNITUDE_MIN;
        let pairs = bytes.get(2..)?.iter().position(|b| b ^ flip == 0)?;
        if pairs == 0 || pairs > DIGITS as usize / 2 {
            return None;
        }
        let mut coefficient = 0_i128;
        for byte in &bytes[2..2 + pairs] {
            let pair = i128::from(byte ^ flip) - 1;
            if pair > 99 {
                return None;
            }
            coefficient = coefficient * 100 + pair;
        }
        let mut exponent = magnitude - 2 * pairs as i32 + 1;
        if coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        let signed = if flip == 0 { coefficient } else { -coefficient };
        let number = Self::from_parts(signed, i16::try_from(exponent).ok()?)?;
        (number.magnitude() == magnitude).then_some((number, pairs + 3))
    }
}

/// First bytes of ordered numbers.
mod ordered {
    pub(super) const NEGATIVE: u8 = 1;
    pub(super) const ZERO: u8 = 2;
    pub(super) const POSITIVE: u8 = 3;
}

fn check_magnitude(magnitude: i64) -> Result<(), NumberError> {
    if magnitude > i64::from(MAGNITUDE_MAX) {
        Err(NumberError::Overflow)
    } else if magnitude < i64::from(MAGNITUDE_MIN) {
        Err(NumberError::Underflow)
    } else {
        Ok(())
    }
}

/// An exponent. One that no i64 holds is as far out of range as any.
fn parse_power(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NumberError::NotANumber);
    }
    let far = i64::MAX / 2;
    let power = digits.parse::<i64>().unwrap_or(far).min(far);
    Ok(if text.starts_with('-') { -power } else { power })
}

trait LastNonzero {
    fn rposition_of_nonzero(self) -> usize;
}

impl<I: Iterator<Item = u8>> LastNonzero for I {
    /// The place of the last digit that is not zero.
    fn rposition_of_nonzero(self) -> usize {
        self.enumerate().filter(|(_, b)| *b != b'0').map(|(i, _)| i).last().unwrap_or(0)
    }
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        let (mut coefficient, mut exponent) = (i128::from(n), 0);
        while coefficient != 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        Self { coefficient, exponent }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.coefficient.signum().cmp(&other.coefficient.signum());
        if sign != Ordering::Equal || self.coefficient == 0 {
            return sign;
        }
        let size = self.magnitude().cmp(&other.magnitude()).then_with(|| {
            // With one magnitude, the shorter coefficient has as many places fewer as it has digits fewer.
            let digits = self.digits().max(other.digits());
            let aligned = |n: &Self| n.coefficient.unsigned_abs() * 10_u128.pow(digits - n.digits());
            aligned(self).cmp(&aligned(other))
        });
        if self.coefficient < 0 { size.reverse() } else { size }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.coefficient.unsigned_abs().to_string();
        if self.coefficient < 0 {
            f.write_str("-")?;
        }
        if self.exponent >= 0 {
            let zeros = usize::from(self.exponent.unsigned_abs());
            return write!(f, "{digits}{:0<zeros$}", "");
        }
        let places = usize::from(self.exponent.unsigned_abs());
        match digits.len().checked_sub(places) {
            Some(whole) if whole > 0 => write!(f, "{}.{}", &digits[..whole], &digits[whole..]),
            _ => write!(f, "0.{digits:0>places$}"),
        }
    }
}
