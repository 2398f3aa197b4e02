//! What can go wrong with a call, and what it proves.

use std::time::Duration;

use crate::api::Reason;

/// What a failure means. The class decides what happens next; the message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The provider refuses the request as it is: sending it again changes nothing.
    InvalidRequest,
    /// The key is not accepted (401).
    Unauthorized,
    /// The key is accepted but may not do this (403).
    Forbidden,
    /// There is no such thing (404), or not for this account.
    NotFound,
    /// The state of the session does not allow this now (409).
    Conflict,
    /// Too many requests (429).
    RateLimited,
    /// The plan, budget or quota of the account is used up (402, or a code that says so).
    QuotaExhausted,
    /// The provider cannot be reached or cannot answer (connection failures, 5xx).
    Unavailable,
    /// No answer within the time limit.
    Timeout,
    /// An answer that is not the provider's own: a web page, or a refusal without the provider's shape. It comes from something
    /// in between (proxy, firewall, gateway) and proves nothing of key, session or launch.
    Intermediary,
    /// An answer that no document names (3xx, odd codes).
    Unknown,
    /// An answer that cannot be read: broken or oversized body, fields missing, wrong types.
    Protocol,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::Unknown,
        Self::Protocol,
    ];

    /// The class that is written like this; `None` for a word of another version.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// The label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::RateLimited => "RateLimited",
            Self::QuotaExhausted => "QuotaExhausted",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::Intermediary => "Intermediary",
            Self::Unknown => "Unknown",
            Self::Protocol => "Protocol",
        }
    }
}

/// What a refusal is about, where the provider says so: decides whether the session itself is wrong or the
/// CodeAgent, the credentials or the account behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The model or its parameters.
    Model,
    /// The repository: unknown, or the account has no access to it.
    Repository,
    /// The branch or reference to start from.
    Reference,
    /// The pull request to start from: unknown, or the account has no access to it.
    PullRequest,
    /// The id that we chose is taken.
    SessionId,
    /// The issue to work on: the provider does not know it.
    Issue,
    /// The provider's agent that the CodeAgent names: there is none, or it is something else.
    CodingAgent,
    /// The Job or the Pod that the CodeAgent describes: the cluster does not take it.
    Pod,
    /// The session works on something else, and takes no message until that has ended.
    Busy,
    /// The session is archived, and takes no message any more.
    Archived,
}

/// How much of the request left this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Nothing: it failed before any byte of the request was written (name lookup, connection, TLS handshake, or our
    /// own last check).
    Nothing,
    /// Some or all of it.
    Possibly,
}

/// A failed call.
///
/// `message` is the provider's own text (at most 512 characters, control characters removed, no credential in it) or
/// ours where there is none. It is fit for `status` and events.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What it means.
    pub class: ErrorClass,
    /// What it is about, where known.
    pub subject: Option<Subject>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The provider's machine-readable code, where there was one.
    pub code: Option<String>,
    /// The text for people.
    pub message: String,
    /// How long the provider asks us to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Whether the request can have arrived.
    pub sent: Sent,
}

impl ProviderError {
    /// The reason that an outage goes by.
    pub fn outage(&self) -> Reason {
        match self.class {
            ErrorClass::RateLimited => Reason::RateLimited,
            ErrorClass::Protocol | ErrorClass::Unknown => Reason::ProviderProtocolError,
            ErrorClass::InvalidRequest
            | ErrorClass::Unauthorized
            | ErrorClass::Forbidden
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::QuotaExhausted
            | ErrorClass::Unavailable
            | ErrorClass::Intermediary
            | ErrorClass::Timeout => Reason::ProviderUnavailable,
        }
    }

    /// Whether the provider cannot be reached or cannot answer: everybody who uses its key meets the same.
    pub fn is_outage(&self) -> bool {
        match self.class {
            ErrorClass::Unavailable | ErrorClass::Intermediary | ErrorClass::Timeout => true,
            ErrorClass::InvalidRequest
            | ErrorClass::Unauthorized
            | ErrorClass::Forbidden
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::RateLimited
            | ErrorClass::QuotaExhausted
            | ErrorClass::Unknown
            | ErrorClass::Protocol => false,
        }
    }

    /// What the matter is with a provider that cannot be used, and what to do where somebody has to. One sentence for all who tell it,
    /// so that a status does not change with who met it.
    pub fn why_unusable(&self) -> String {
        match self.class {
            ErrorClass::NotFound | ErrorClass::InvalidRequest => format!(
                "nothing answers at the endpoint as the provider's API does: {self}. Check the endpoint (spec.provider, or --provider-endpoint)"
            ),
            _ => format!("the provider cannot be used right now: {self}"),
        }
    }

    /// What is said of whatever waits until the provider can be used again.
    pub fn why_waiting(&self) -> String {
        format!("waits, {}", self.why_unusable())
    }

    /// A failure before anything was sent.
    pub fn unsent(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            subject: None,
            status: None,
            code: None,
            message: message.into(),
            retry_after: None,
            sent: Sent::Nothing,
        }
    }

    /// An answer that cannot be read or says something impossible.
    pub fn unreadable(status: Option<u16>, message: impl Into<String>) -> Self {
        Self {
            status,
            sent: Sent::Possibly,
            ..Self::unsent(ErrorClass::Protocol, message)
        }
    }
}
