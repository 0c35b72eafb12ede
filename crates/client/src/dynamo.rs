//! Calls of DynamoDB's API, of one endpoint, over [`crate::http`].
//!
//! The signature is one that nobody can verify: an endpoint that verifies signatures refuses.

use crate::http::{Link, Silence};
use serde_json::Value;
use std::fmt;

/// An operation of the API, with what is sent of headers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    headers: String,
}

impl Operation {
    /// By its name, as in `PutItem`.
    pub fn named(name: &str) -> Self {
        let parts = [
            "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.",
            name,
            "\r\nX-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 ",
            "Credential=any/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, ",
            "Signature=0000000000000000000000000000000000000000000000000000000000000000\r\n",
        ];
        Self { headers: parts.concat() }
    }
}

/// Why an operation was not done, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer came.
    Silent(Silence),
    /// It was answered by an error.
    Refused {
        /// The status of the answer.
        status: u16,
        /// The API's name of the error; empty where none came.
        name: String,
        /// What is said of it.
        text: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(why) => why.fmt(f),
            Self::Refused { status, name, .. } if name.is_empty() => write!(f, "status {status}"),
            Self::Refused { name, text, .. } => write!(f, "{name}: {text}"),
        }
    }
}

/// Calls an operation; the body of its answer.
pub async fn call<'l>(link: &'l mut Link, operation: &Operation, body: &[u8]) -> Result<&'l [u8], Trouble> {
    let reply = link.post(&operation.headers, body).await.map_err(Trouble::Silent)?;
    if reply.status == 200 { Ok(reply.body) } else { Err(refused(reply.status, reply.body)) }
}

fn refused(status: u16, body: &[u8]) -> Trouble {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = value["__type"].as_str().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().to_string();
    let text =
        value["message"].as_str().or_else(|| value["Message"].as_str()).unwrap_or_default().to_string();
    Trouble::Refused { status, name, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_by_name() {
        let body = br#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow"}"#;
        assert_eq!(refused(400, body).to_string(), "ThrottlingException: slow");
        assert_eq!(refused(502, b"<html>").to_string(), "status 502");
    }
}
