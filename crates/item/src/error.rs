//! What is wrong with a request, in the words that DynamoDB uses: programs match on them.

/// Why a request is refused. The text is DynamoDB's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// `ValidationException`: the request can be read, and asks for what may not be.
    Validation(String),
    /// `SerializationException`: the request does not have the form of one.
    Serialization(String),
}

impl Error {
    /// A `ValidationException` with this text.
    pub fn validation(text: impl Into<String>) -> Self {
        Self::Validation(text.into())
    }

    /// `One or more parameter values were invalid: ` and this text.
    pub(crate) fn invalid(text: impl std::fmt::Display) -> Self {
        Self::Validation(format!("One or more parameter values were invalid: {text}"))
    }

    /// Documents nested too deep.
    pub(crate) fn too_deep() -> Self {
        Self::validation(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond \
             supported limit",
        )
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        match self {
            Self::Validation(text) | Self::Serialization(text) => text,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}
