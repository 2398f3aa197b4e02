//! What a connection to an HTTP service consists of, and how it asks and is not understood.

use serde_json::Value;

use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::mapping::{Call, Filled, Mapping, Name, NotUnderstood, Values};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Operation, Target};

/// A connection to an HTTP service.
#[derive(Debug)]
pub(super) struct HttpAgent {
    pub(super) api: Api,
    pub(super) fingerprint: AccountFingerprint,
    pub(super) mapping: Mapping,
}

/// What cannot be asked for like this.
pub(super) fn unaskable(error: &NotUnderstood) -> ProviderError {
    ProviderError::unsent(ErrorClass::InvalidRequest, error.why.clone())
}

/// An answer in which the mapping does not find what it looks for.
pub(super) fn not_understood(error: NotUnderstood) -> ProviderError {
    ProviderError::unreadable(None, error.to_string())
}

/// What names the session in a request.
pub(super) fn of_session(session: &SessionId) -> Values {
    Values::from([(Name::SessionId, session.as_str().into())])
}

/// A request as the HTTP stack takes it.
pub(super) struct Borrowed<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) query: Vec<(&'a str, &'a str)>,
}

impl<'a> Borrowed<'a> {
    pub(super) fn of(filled: &'a Filled) -> Self {
        let query = filled.query.iter();
        Self {
            path: filled.path.iter().map(String::as_str).collect(),
            query: query
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            path: &self.path,
            query: &self.query,
        }
    }
}

impl HttpAgent {
    /// Reads what `call` is answered with.
    pub(super) async fn read(
        &self,
        operation: Operation,
        call: &Call,
        values: &Values,
    ) -> Result<Value, ProviderError> {
        let filled = call.fill(values).map_err(|error| unaskable(&error))?;
        let Borrowed { path, query } = Borrowed::of(&filled);
        self.api.get(operation, &path, &query).await
    }
}
