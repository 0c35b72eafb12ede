//! Base64 as DynamoDB's JSON has it (RFC 4648, section 4): padded, nothing but its alphabet, no bits left over.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes, or why the text has none; the reason is DynamoDB's.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    check(text)?;
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, b| bits << 6 | u32::from(digit(*b).unwrap_or(0)));
        let bits = bits << (6 * (4 - four.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Ok(out)
}

/// Whether the text is base64.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if !text.len().is_multiple_of(4) {
        let length = text.len();
        return Err(format!("Base64 encoded length is expected a multiple of 4 bytes but found: {length}"));
    }
    let digits = text.trim_end_matches('=');
    if let Some(stranger) = digits.chars().find(|c| digit_of(*c).is_none() && *c != '=') {
        return Err(format!("Invalid Base64 character: '{stranger}'"));
    }
    let padding = text.len() - digits.len();
    let last = digits.bytes().last().and_then(digit).unwrap_or(0);
    let left_over = match padding {
        0 => 0,
        1 => last & 0b11,
        2 => last & 0b1111,
        _ => 1,
    };
    if left_over != 0 || digits.contains('=') {
        return Err("Invalid last non-pad Base64 character dectected".into());
    }
    Ok(())
}

/// Appends the bytes as base64.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for three in bytes.chunks(3) {
        let mut block = [0; 4];
        block[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(block);
        for i in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= three.len() { digit } else { b'=' });
        }
    }
}

fn digit_of(c: char) -> Option<u8> {
    u8::try_from(c).ok().and_then(digit)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: what is encoded is decoded to the same, for each length, and the vectors of RFC 4648 hold.
    #[test]
    fn bytes_come_back() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..bytes.len() {
            let mut out = Vec::new();
            encode(&bytes[..len], &mut out);
            assert_eq!(decode(std::str::from_utf8(&out).unwrap()).unwrap(), &bytes[..len]);
        }
    }

    /// Claim: what is not base64 is refused in DynamoDB's words.
    #[test]
    fn what_is_not_base64_is_refused() {
        let cases = [
            ("23456", "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
            ("=+/=", "Invalid last non-pad Base64 character dectected"),
            ("+/+=", "Invalid last non-pad Base64 character dectected"),
            ("====", "Invalid last non-pad Base64 character dectected"),
            ("ab*d", "Invalid Base64 character: '*'"),
            ("aéa", "Invalid Base64 character: 'é'"),
        ];
        for (text, why) in cases {
            assert_eq!(decode(text), Err(why.to_string()), "{text}");
        }
    }
}
