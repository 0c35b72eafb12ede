//! AWS's signatures of version 4, as far as one request with a body known beforehand needs them: what is signed, the key that
//! signs, and the signature. The door holds requests against it, and `quorate space` signs its own.
//!
//! By "Create a signed AWS API request" of the IAM user guide. Left out: signatures in the query, and bodies that are signed
//! piece by piece; DynamoDB's clients use neither.

use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The algorithm's name.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The last part of a credential's scope.
pub const TERMINATOR: &str = "aws4_request";
const BLOCK: usize = 64;

/// What a signature is for: a day, a region and a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'s> {
    /// `YYYYMMDD`.
    pub day: &'s str,
    /// The region's name.
    pub region: &'s str,
    /// The service's name.
    pub service: &'s str,
}

impl Scope<'_> {
    /// As it stands in what is signed.
    pub fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }

    /// The key that signs for it.
    pub fn key(&self, secret: &str) -> [u8; 32] {
        let parts = [self.day, self.region, self.service, TERMINATOR];
        let secret = format!("AWS4{secret}");
        let mut key = hmac(secret.as_bytes(), parts[0].as_bytes());
        for part in &parts[1..] {
            key = hmac(&key, part.as_bytes());
        }
        key
    }
}

/// A request in the form that is signed, without its body's hash. `signed` are the names of the signed headers, in lower case
/// and in order.
pub fn canonical(method: &Method, uri: &Uri, headers: &HeaderMap, signed: &[&str]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{method}\n{}\n{}\n",
        encoded(uri.path()),
        canonical_query(uri.query().unwrap_or_default())
    );
    for name in signed {
        let values: Vec<String> = headers
            .get_all(*name)
            .iter()
            .map(|value| squeezed(&String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let _ = writeln!(out, "{name}:{}", values.join(","));
    }
    let _ = write!(out, "\n{}\n", signed.join(";"));
    out
}

/// The signature of a request: its canonical form, its body, `YYYYMMDDTHHMMSSZ`, and the key for its scope.
pub fn sign(canonical: &str, body: &[u8], at: &str, scope: &Scope<'_>, key: &[u8; 32]) -> [u8; 32] {
    let whole = Sha256::digest(format!("{canonical}{}", hex(&Sha256::digest(body))));
    let text = format!("{ALGORITHM}\n{at}\n{}\n{}", scope.text(), hex(&whole));
    hmac(key, text.as_bytes())
}

/// Now, as a signature is dated.
pub fn basic_date() -> String {
    crate::time::basic(crate::now_ms())
}

/// Now, as `2026-11-28T13:33:55.123Z`.
pub fn iso_date() -> String {
    format!("{}Z", crate::time::iso(crate::now_ms()))
}

/// HMAC (RFC 2104) with SHA-256.
pub fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Whether both are the same, in a time that does not tell where they differ.
pub(crate) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differs = a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b));
    std::hint::black_box(differs) == 0
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// A path, in which all but the letters that need no escape are escaped once more.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_string() } else { format!("{pair}=") })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Without blanks around it, and with one where there are several.
fn squeezed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn hmac_is_that_of_the_standard() {
        for (key, text, expected) in [
            (vec![0x0b; 20], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(&key, text.as_bytes())), expected);
        }
    }

    /// The example "get-vanilla" of AWS's own suite for signatures.
    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let scope = Scope { day: "20150830", region: "us-east-1", service: "service" };
        let key = scope.key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let mut headers = HeaderMap::new();
        headers.insert("host", "example.amazonaws.com".parse().unwrap());
        headers.insert("x-amz-date", "20150830T123600Z".parse().unwrap());
        let canonical = canonical(&Method::GET, &Uri::from_static("/"), &headers, &["host", "x-amz-date"]);
        let signature = sign(&canonical, b"", "20150830T123600Z", &scope, &key);
        assert_eq!(hex(&signature), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        let mut other = signature;
        assert!(same(&signature, &other));
        other[31] ^= 1;
        assert!(!same(&signature, &other));
    }

    #[test]
    fn what_is_signed_has_one_form() {
        assert_eq!(encoded("/a b%20"), "/a%20b%2520");
        assert_eq!(canonical_query("b=2&a&a=1"), "a=&a=1&b=2");
        assert_eq!(squeezed("  a   b "), "a b");
    }
}
