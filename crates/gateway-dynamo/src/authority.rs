//! Signatures of version 4: that there is one, and that it has its parts.
//!
//! It is parsed and not verified: keys cannot be configured yet, so any access key is taken, as with DynamoDB's own local
//! stand-in. The door listens on loopback unless the operator says that the network is trusted.

use crate::failure::{ApiError, Kind};
use hyper::Uri;
use hyper::header::{AUTHORIZATION, DATE, HeaderMap};
use std::fmt::Write as _;

/// Refuses a request that is not signed, or whose signature is no signature.
pub(crate) fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    // A request that was signed beforehand has the parts in its query.
    let presigned = uri.query().is_some_and(|query| query.contains("X-Amz-Algorithm=AWS4-HMAC-SHA256"));
    if presigned {
        return Ok(());
    }
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(ApiError::new(Kind::MissingAuthentication, "Request is missing Authentication Token"));
    };
    let value = value.to_str().unwrap_or_default();
    let Some(parts) = value.strip_prefix("AWS4-HMAC-SHA256") else {
        return Err(ApiError::new(Kind::MissingAuthentication, "Request is missing Authentication Token"));
    };
    let has = |name: &str| {
        parts.split(',').any(|part| part.trim().split_once('=').is_some_and(|(key, _)| key.trim() == name))
    };
    let mut missing = String::new();
    for name in ["Credential", "Signature", "SignedHeaders"] {
        if !has(name) {
            // Writing to a String cannot fail.
            let _ = write!(missing, "Authorization header requires '{name}' parameter. ");
        }
    }
    if !headers.contains_key("x-amz-date") && !headers.contains_key(DATE) {
        missing.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(Kind::IncompleteSignature, format!("{missing}Authorization={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&'static str, &str)]) -> Option<(Kind, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        check(&map, &Uri::from_static("/")).err().map(|e| (e.kind, e.message))
    }

    #[test]
    fn a_signature_must_be_there_and_have_its_parts() {
        assert_eq!(said(&[]).unwrap().0, Kind::MissingAuthentication);
        assert_eq!(said(&[("authorization", "Basic x")]).unwrap().0, Kind::MissingAuthentication);
        let whole = "AWS4-HMAC-SHA256 Credential=a/20260101/r/dynamodb/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(said(&[("authorization", whole), ("x-amz-date", "20260101T000000Z")]), None);
        let (kind, text) = said(&[("authorization", "AWS4-HMAC-SHA256 Credential=a")]).unwrap();
        assert_eq!(kind, Kind::IncompleteSignature);
        assert!(
            text.contains("'Signature'") && text.contains("'X-Amz-Date'") && !text.contains("'Credential'")
        );
    }
}
