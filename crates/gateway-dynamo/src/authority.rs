//! Who asks: signatures of version 4.
//!
//! Where keys are configured, a request must carry a signature made with one of them, not longer than a quarter of an hour
//! ago: over its operation, its body and its date. Without keys a signature must be there and is not looked at, as with DynamoDB's own
//! local stand-in; then anyone who reaches the port may do anything, and the door listens on loopback unless the
//! operator says that the network is trusted. A signature hides nothing: whoever listens on the way reads what is sent.
//!
//! Left out: signatures in the query, which are refused where keys are configured; temporary credentials; who may do what.

use crate::failure::{Answered, ApiError, Kind};
use crate::signature::{self, Scope};
use crate::time;
use hyper::Method;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, DATE, HeaderMap};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// How far a request's date may be from the node's clock, in milliseconds.
const SKEW: u64 = 15 * 60 * 1000;
/// These must be under the signature: without the first another server's request would do, without the second another operation.
const MUST_BE_SIGNED: [(&str, &str); 2] = [("host", "Host"), ("x-amz-target", "X-Amz-Target")];

/// Access keys with their secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, String>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Keys {
    /// Reads lines of an access key's id and its secret, with blanks between; empty ones and those that begin with `#` are
    /// passed over. What is wrong is told with the line's number, and without the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = at + 1;
            let parts: Vec<&str> = line.split_ascii_whitespace().collect();
            let [id, secret] = parts[..] else {
                return Err(format!("line {number} is not an access key's id and its secret"));
            };
            if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
                return Err(format!("the id in line {number} has more than letters, digits, '_' and '-'"));
            }
            if keys.insert(id.to_string(), secret.to_string()).is_some() {
                return Err(format!("line {number} has an id that an earlier line has"));
            }
        }
        if keys.is_empty() { Err("there is no key in it".into()) } else { Ok(Self(keys)) }
    }
}

/// The head of a request.
#[derive(Clone, Copy)]
pub(crate) struct Head<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
}

/// What a request's head says about who made it, to be held against its body.
#[derive(Debug)]
pub(crate) struct Claim {
    canonical: String,
    at: String,
    scope: [String; 3],
    key: [u8; 32],
    signature: [u8; 32],
}

impl Claim {
    /// Refuses a request whose signature is not the one that its body and its head make.
    pub(crate) fn check(&self, body: &[u8]) -> Answered<()> {
        let [day, region, service] = &self.scope;
        let scope = Scope { day, region, service };
        let expected = signature::sign(&self.canonical, body, &self.at, &scope, &self.key);
        if signature::same(&expected, &self.signature) {
            return Ok(());
        }
        Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.",
        ))
    }
}

/// Refuses a request that is not signed, or whose signature is no signature; with keys, also what can be refused before
/// the body is there.
pub(crate) fn check(keys: Option<&Keys>, head: Head<'_>, now: u64) -> Answered<Option<Claim>> {
    // A request that was signed beforehand has the parts in its query.
    let presigned = head.uri.query().is_some_and(|query| query.contains("X-Amz-Algorithm=AWS4-HMAC-SHA256"));
    if presigned && keys.is_none() {
        return Ok(None);
    }
    let value = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(parts) = value.strip_prefix(signature::ALGORITHM) else {
        return Err(ApiError::new(Kind::MissingAuthentication, "Request is missing Authentication Token"));
    };
    let part = |name: &str| {
        let mut parts = parts.split(',').filter_map(|part| part.trim().split_once('='));
        parts.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let date = head.headers.get("x-amz-date").or_else(|| head.headers.get(DATE));
    let (Some(credential), Some(signature), Some(signed), Some(date)) =
        (part("Credential"), part("Signature"), part("SignedHeaders"), date)
    else {
        return Err(incomplete(value, &part, date.is_some()));
    };
    let Some(keys) = keys else { return Ok(None) };
    claim(keys, head, (credential, signature, signed), date.to_str().unwrap_or_default(), now).map(Some)
}

fn incomplete<'v>(value: &str, part: &dyn Fn(&str) -> Option<&'v str>, dated: bool) -> ApiError {
    let mut missing = String::new();
    for name in ["Credential", "Signature", "SignedHeaders"].into_iter().filter(|name| part(name).is_none()) {
        // Writing to a String cannot fail.
        let _ = write!(missing, "Authorization header requires '{name}' parameter. ");
    }
    if !dated {
        missing.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    ApiError::new(Kind::IncompleteSignature, format!("{missing}Authorization={value}"))
}

fn claim(
    keys: &Keys,
    head: Head<'_>,
    (credential, signature, signed): (&str, &str, &str),
    at: &str,
    now: u64,
) -> Answered<Claim> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [id, day, region, service, terminator] = parts[..] else {
        let text = format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
        );
        return Err(ApiError::new(Kind::IncompleteSignature, text));
    };
    let Some(made) = parse_date(at) else {
        let text = format!(
            "Date must be in ISO-8601 'basic format'. Got '{at}'. See http://en.wikipedia.org/wiki/ISO_8601"
        );
        return Err(ApiError::new(Kind::IncompleteSignature, text));
    };
    let secret = keys.0.get(id).ok_or_else(|| {
        ApiError::new(Kind::UnrecognizedClient, "The security token included in the request is invalid.")
    })?;
    if service != "dynamodb" {
        return Err(invalid("Credential should be scoped to correct service: 'dynamodb'. "));
    }
    if terminator != signature::TERMINATOR {
        return Err(invalid(format!(
            "Credential should be scoped with a valid terminator: '{}', not '{terminator}'.",
            signature::TERMINATOR
        )));
    }
    if !at.starts_with(day) || day.len() != 8 {
        let of = at.get(..8).unwrap_or_default();
        return Err(invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{day}' != '{of}', \
             from '{at}'."
        )));
    }
    check_age(at, made, now)?;
    let signed: Vec<&str> = signed.split(';').collect();
    for (name, shown) in MUST_BE_SIGNED {
        if !signed.contains(&name) {
            return Err(invalid(format!("'{shown}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
    }
    let canonical = signature::canonical(head.method, head.uri, head.headers, &signed);
    let key = Scope { day, region, service }.key(secret);
    Ok(Claim {
        canonical,
        at: at.to_string(),
        scope: [day, region, service].map(String::from),
        key,
        // What is none is that of no request.
        signature: unhex(signature).unwrap_or_default(),
    })
}

fn check_age(at: &str, made: u64, now: u64) -> Answered<()> {
    let shown = |ms: u64| time::basic(ms);
    if made.saturating_add(SKEW) < now {
        let earliest = now - SKEW;
        return Err(invalid(format!(
            "Signature expired: {at} is now earlier than {} ({} - 15 min.)",
            shown(earliest),
            shown(now)
        )));
    }
    if made > now.saturating_add(SKEW) {
        return Err(invalid(format!(
            "Signature not yet current: {at} is still later than {} ({} + 15 min.)",
            shown(now + SKEW),
            shown(now)
        )));
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(Kind::InvalidSignature, text)
}

/// `20260101T000000Z`, in milliseconds since 1970.
fn parse_date(text: &str) -> Option<u64> {
    let (day, rest) = text.split_once('T')?;
    let clock = rest.strip_suffix('Z')?;
    if day.len() != 8 || clock.len() != 6 || !text.is_ascii() {
        return None;
    }
    let number = time::digits;
    time::of_parts(
        [number(&day[..4])?, number(&day[4..6])?, number(&day[6..])?],
        [number(&clock[..2])?, number(&clock[2..4])?, number(&clock[4..])?],
    )
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; 32];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600_000;
    const AT: &str = "20260101T000000Z";
    const BODY: &[u8] = b"{}";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(*name, value.parse().unwrap());
        }
        map
    }

    fn head<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Head<'r> {
        Head { method: &Method::POST, uri, headers }
    }

    fn said(pairs: &[(&'static str, &str)]) -> Option<(Kind, String)> {
        let (headers, uri) = (headers(pairs), Uri::from_static("/"));
        check(None, head(&headers, &uri), NOW).err().map(|e| (e.kind, e.message))
    }

    #[test]
    fn a_signature_must_be_there_and_have_its_parts() {
        assert_eq!(said(&[]).unwrap().0, Kind::MissingAuthentication);
        assert_eq!(said(&[("authorization", "Basic x")]).unwrap().0, Kind::MissingAuthentication);
        let whole = "AWS4-HMAC-SHA256 Credential=a/20260101/r/dynamodb/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(said(&[("authorization", whole), ("x-amz-date", AT)]), None);
        let (kind, text) = said(&[("authorization", "AWS4-HMAC-SHA256 Credential=a")]).unwrap();
        assert_eq!(kind, Kind::IncompleteSignature);
        assert!(
            text.contains("'Signature'") && text.contains("'X-Amz-Date'") && !text.contains("'Credential'")
        );
    }

    /// A request signed with `secret`, as a client would; `change` spoils it then. What the door says to it at `now`.
    fn verified(
        secret: &str,
        credential: &str,
        now: u64,
        change: impl FnOnce(&mut HeaderMap, &mut Vec<u8>),
    ) -> Result<(), (Kind, String)> {
        let keys = Keys::parse("# ours\n\nAKID secret\n OTHER\tword \n").unwrap();
        let mut map = headers(&[
            ("host", "localhost:8000"),
            ("x-amz-date", AT),
            ("x-amz-target", "DynamoDB_20120810.ListTables"),
        ]);
        let uri = Uri::from_static("/");
        let signed = ["host", "x-amz-date", "x-amz-target"];
        let parts: Vec<&str> = credential.split('/').collect();
        let scope = Scope { day: parts[1], region: parts[2], service: parts[3] };
        let canonical = signature::canonical(&Method::POST, &uri, &map, &signed);
        let made = signature::sign(&canonical, BODY, AT, &scope, &scope.key(secret));
        let value = format!(
            "{} Credential={credential}, SignedHeaders={}, Signature={}",
            signature::ALGORITHM,
            signed.join(";"),
            signature::hex(&made)
        );
        map.insert(AUTHORIZATION, value.parse().unwrap());
        let mut body = BODY.to_vec();
        change(&mut map, &mut body);
        let checked = check(Some(&keys), head(&map, &uri), now).and_then(|claim| claim.unwrap().check(&body));
        checked.map_err(|e| (e.kind, e.message))
    }

    const CREDENTIAL: &str = "AKID/20260101/eu-west-1/dynamodb/aws4_request";

    #[test]
    fn only_what_was_signed_with_a_known_key_is_taken() {
        let minute = 60_000;
        let unchanged = |_: &mut HeaderMap, _: &mut Vec<u8>| {};
        assert_eq!(verified("secret", CREDENTIAL, NOW, unchanged), Ok(()));
        assert_eq!(verified("secret", CREDENTIAL, NOW + 15 * minute, unchanged), Ok(()));
        assert_eq!(verified("secret", CREDENTIAL, NOW - 15 * minute, unchanged), Ok(()));
        let kind = |result: Result<(), (Kind, String)>| result.unwrap_err().0;
        let text = |result: Result<(), (Kind, String)>| result.unwrap_err().1;
        assert_eq!(kind(verified("wrong", CREDENTIAL, NOW, unchanged)), Kind::InvalidSignature);
        let of = |credential: &str| verified("secret", credential, NOW, unchanged);
        assert_eq!(kind(of("NOBODY/20260101/r/dynamodb/aws4_request")), Kind::UnrecognizedClient);
        assert!(text(of("AKID/20260101/r/s3/aws4_request")).contains("correct service"));
        assert!(text(of("AKID/20260102/r/dynamodb/aws4_request")).contains("does not match YYYYMMDD"));
        assert_eq!(kind(of("AKID/20260101/r/dynamodb")), Kind::IncompleteSignature);
        assert_eq!(kind(of("OTHER/20260101/r/dynamodb/aws4_request")), Kind::InvalidSignature);
        let late = text(verified("secret", CREDENTIAL, NOW + 16 * minute, unchanged));
        assert!(
            late.starts_with("Signature expired: 20260101T000000Z is now earlier than 20260101T000100Z"),
            "{late}"
        );
        let early = text(verified("secret", CREDENTIAL, NOW - 16 * minute, unchanged));
        assert!(early.starts_with("Signature not yet current"), "{early}");
    }

    #[test]
    fn whatever_is_changed_behind_the_signature_is_seen() {
        let kind = |change: &dyn Fn(&mut HeaderMap, &mut Vec<u8>)| {
            verified("secret", CREDENTIAL, NOW, change).unwrap_err().0
        };
        let set = |name: &'static str, value: &'static str| {
            move |map: &mut HeaderMap, _: &mut Vec<u8>| drop(map.insert(name, value.parse().unwrap()))
        };
        assert_eq!(kind(&|_, body| body.push(b' ')), Kind::InvalidSignature);
        assert_eq!(kind(&set("x-amz-target", "DynamoDB_20120810.DeleteTable")), Kind::InvalidSignature);
        assert_eq!(kind(&set("x-amz-date", "20260101T000001Z")), Kind::InvalidSignature);
        assert_eq!(kind(&set("x-amz-date", "yesterday")), Kind::IncompleteSignature);
        assert_eq!(kind(&|map, _| drop(map.remove("authorization"))), Kind::MissingAuthentication);
        let unsigned = |map: &mut HeaderMap, _: &mut Vec<u8>| {
            let value = map.get(AUTHORIZATION).unwrap().to_str().unwrap().replace(";x-amz-target", "");
            map.insert(AUTHORIZATION, value.parse().unwrap());
        };
        assert_eq!(kind(&unsigned), Kind::InvalidSignature);
        for signature in ["", "00", "é"] {
            let spoiled = |map: &mut HeaderMap, _: &mut Vec<u8>| {
                let value = map.get(AUTHORIZATION).unwrap().to_str().unwrap();
                let value = format!(
                    "{}{signature}",
                    value.split_once("Signature=").unwrap().0.to_string() + "Signature="
                );
                map.insert(AUTHORIZATION, hyper::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            };
            assert!(verified("secret", CREDENTIAL, NOW, spoiled).is_err());
        }
    }

    /// With keys a signature in the query is no way around them.
    #[test]
    fn a_signature_in_the_query_opens_nothing() {
        let keys = Keys::parse("AKID secret").unwrap();
        let (headers, uri) = (HeaderMap::new(), Uri::from_static("/?X-Amz-Algorithm=AWS4-HMAC-SHA256"));
        assert!(check(None, head(&headers, &uri), NOW).is_ok());
        assert!(check(Some(&keys), head(&headers, &uri), NOW).is_err());
    }

    #[test]
    fn a_bad_file_of_keys_is_told_by_its_line_and_without_its_secret() {
        for (text, said) in [
            ("", "no key"),
            ("# only\n", "no key"),
            ("a b\nhidden", "line 2"),
            ("a b c", "line 1"),
            ("a b\na c", "line 2"),
            ("a/b hidden", "line 1"),
        ] {
            let told = Keys::parse(text).unwrap_err();
            assert!(told.contains(said) && !told.contains("hidden"), "{told}");
        }
        assert!(!format!("{:?}", Keys::parse("id hidden").unwrap()).contains("hidden"));
    }
}
