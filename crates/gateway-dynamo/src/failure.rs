//! Why there is no answer, in DynamoDB's names, codes and texts. Programs decide by the names, tests by the texts.
//!
//! What a failure means for a retry decides its code, since the SDKs try 5xx again by themselves: nothing was done, or
//! doing it twice does no harm: 500 or 503; it may have been done, and doing it twice might do harm: 400 under a name of
//! our own, which no SDK repeats.

use quorate_node::api::Failure;
use quorate_wire::kv::Refused;
use quorate_wire::table::Refusal;
use serde_json::{Map, Value, json};

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Validation,
    Serialization,
    UnknownOperation,
    MissingAuthentication,
    IncompleteSignature,
    AccessDenied,
    InvalidSignature,
    UnrecognizedClient,
    NotFound,
    InUse,
    ConditionFailed,
    Canceled,
    TokenMismatch,
    InProgress,
    Conflict,
    Limit,
    Throttled,
    TableNotFound,
    Trimmed,
    ExpiredIterator,
    TooLarge,
    OutcomeUnknown,
    Internal,
    Unavailable,
    /// The same, and nothing was done: it was asked for in the wrong place.
    Moved,
    /// The directory of a table does not have the tenant.
    Unlisted,
    /// One that a single operation has, by its name.
    Named(&'static str),
}

const DYNAMO: &str = "com.amazonaws.dynamodb.v20120810";
const SERVICE: &str = "com.amazon.coral.service";

impl Kind {
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Validation | Self::Unlisted => ("com.amazon.coral.validate", "ValidationException"),
            Self::Serialization => (SERVICE, "SerializationException"),
            Self::UnknownOperation => (SERVICE, "UnknownOperationException"),
            Self::MissingAuthentication => (SERVICE, "MissingAuthenticationTokenException"),
            Self::IncompleteSignature => (SERVICE, "IncompleteSignatureException"),
            Self::AccessDenied => (SERVICE, "AccessDeniedException"),
            Self::InvalidSignature => (SERVICE, "InvalidSignatureException"),
            Self::UnrecognizedClient => (SERVICE, "UnrecognizedClientException"),
            Self::NotFound => (DYNAMO, "ResourceNotFoundException"),
            Self::InUse => (DYNAMO, "ResourceInUseException"),
            Self::ConditionFailed => (DYNAMO, "ConditionalCheckFailedException"),
            Self::Canceled => (DYNAMO, "TransactionCanceledException"),
            Self::TokenMismatch => (DYNAMO, "IdempotentParameterMismatchException"),
            Self::InProgress => (DYNAMO, "TransactionInProgressException"),
            Self::Conflict => (DYNAMO, "TransactionConflictException"),
            Self::Limit => (DYNAMO, "LimitExceededException"),
            Self::Throttled => (DYNAMO, "ThrottlingException"),
            Self::Trimmed => (DYNAMO, "TrimmedDataAccessException"),
            Self::ExpiredIterator => (DYNAMO, "ExpiredIteratorException"),
            Self::TableNotFound => (DYNAMO, "TableNotFoundException"),
            Self::TooLarge => (SERVICE, "RequestEntityTooLargeException"),
            Self::OutcomeUnknown => (DYNAMO, "OutcomeUnknownException"),
            Self::Internal => (DYNAMO, "InternalServerError"),
            Self::Unavailable | Self::Moved => (DYNAMO, "ServiceUnavailable"),
            Self::Named(name) => (DYNAMO, name),
        }
    }

    /// The HTTP status.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Internal => 500,
            Self::Unavailable | Self::Moved => 503,
            _ => 400,
        }
    }
}

/// An error as a client hears it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// A further member of the body.
    pub(crate) extra: Option<(&'static str, Value)>,
}

/// What a handler gives.
pub(crate) type Answered<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), extra: None }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(Kind::Validation, message)
    }

    /// The body.
    pub(crate) fn body(&self) -> Value {
        let (space, name) = self.kind.name();
        let mut body = Map::new();
        body.insert("__type".into(), json!(format!("{space}#{name}")));
        let key = match self.kind {
            Kind::Serialization | Kind::Canceled => "Message",
            _ => "message",
        };
        // Some kinds have no text of their own.
        if !self.message.is_empty() {
            body.insert(key.into(), json!(self.message));
        }
        if let Some((name, value)) = &self.extra {
            body.insert((*name).into(), value.clone());
        }
        Value::Object(body)
    }
}

/// How much harm a second try would do where the first one's outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// None: a read, a write that says all of what is to be, or one with a token.
    Harmless,
    /// It might be done twice.
    Harmful,
}

/// What a failure of the node is for the client.
pub(crate) fn of_node(failure: Failure, retry: Retry) -> ApiError {
    match failure {
        Failure::Refused(refused, _) => of_refused(refused),
        Failure::TimedOut | Failure::LeaderChanged | Failure::Stopping if retry == Retry::Harmful => {
            ApiError::new(
                Kind::OutcomeUnknown,
                "The outcome of this request is not known: it may have been carried out or not, and carrying it out \
                 twice might do harm. Read the item before you try again.",
            )
        }
        Failure::TimedOut | Failure::LeaderChanged => {
            ApiError::new(Kind::Internal, "The request was not answered in time. Please retry.")
        }
        Failure::NoLeader => ApiError::new(Kind::Unavailable, "There is no leader at present. Please retry."),
        Failure::Stopping => {
            ApiError::new(Kind::Unavailable, "This node is stopping. Please retry elsewhere.")
        }
        Failure::Learner | Failure::NotLeader | Failure::BadTransferee | Failure::Members(_) => {
            ApiError::new(Kind::Unavailable, "This node does not serve this yet. Please retry elsewhere.")
        }
        Failure::Overloaded => {
            ApiError::new(Kind::Throttled, "Too many requests wait on this node. Please retry later.")
        }
        // The log takes whatever the service does: what is larger has a key or older parameters that are larger than any item.
        Failure::TooLarge => ApiError::validation("Item size has exceeded the maximum allowed size"),
        Failure::Broken(why) => ApiError::new(Kind::Unavailable, format!("This node cannot serve: {why}")),
    }
}

fn of_refused(refused: Refused) -> ApiError {
    match refused {
        Refused::Table(refusal) => of_refusal(refusal),
        Refused::NoSpace => ApiError::new(
            Kind::Limit,
            "A member of the cluster has no room left: nothing that grows is taken until the alarm is disarmed",
        ),
        Refused::Corrupt => ApiError::new(
            Kind::Unavailable,
            "The members' states differ: nothing is changed until that is mended",
        ),
        Refused::UnknownCommand => {
            ApiError::new(Kind::Unavailable, "A node of this cluster is of an older release; update it")
        }
        other => ApiError::new(Kind::Internal, format!("Unexpected refusal: {other:?}")),
    }
}

fn of_refusal(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Validation(message) => ApiError::validation(message),
        Refusal::NotFound => ApiError::new(Kind::NotFound, "Requested resource not found"),
        Refusal::TableNotFound(name) => {
            ApiError::new(Kind::NotFound, format!("Requested resource not found: Table: {name} not found"))
        }
        Refusal::TableExists(name) => ApiError::new(Kind::InUse, format!("Table already exists: {name}")),
        Refusal::InUse(message) => ApiError::new(Kind::InUse, message),
        Refusal::Limit(message) => ApiError::new(Kind::Limit, message),
        Refusal::TokenMismatch => ApiError::new(Kind::TokenMismatch, ""),
        Refusal::StaleEpoch | Refusal::Moved => {
            ApiError::new(Kind::Moved, "The shard has moved since the request was routed. Please retry.")
        }
        Refusal::TokenInUse => ApiError::new(
            Kind::InProgress,
            "The transaction with the given request token is already in progress.",
        ),
    }
}
