//! What the server answers when it does not do what was asked: Kubernetes `Status` objects.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusDetails};

use crate::api::GROUP;

/// Why a request is refused, in the words of the Kubernetes API (`metav1.StatusReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The request itself is wrong.
    BadRequest,
    /// Nobody knows the token.
    Unauthorized,
    /// The user may not.
    Forbidden,
    /// There is no such thing, or not yet.
    NotFound,
    /// The thing is there and cannot be asked this.
    MethodNotAllowed,
    /// What was told cannot be gone on with: ask anew, from a number on.
    Expired,
    /// Too many at once.
    TooManyRequests,
    /// The API server or the provider does not do its part now.
    ServiceUnavailable,
    /// The provider did not answer in time.
    Timeout,
}

impl RefusalReason {
    /// The HTTP status code.
    pub fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expired => StatusCode::GONE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The word in `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Expired => "Expired",
            Self::TooManyRequests => "TooManyRequests",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }
}

/// A refusal: what happened, to what, and what the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as one word.
    pub reason: RefusalReason,
    /// Why, as a sentence.
    pub message: String,
    /// The CodeSession that it is about.
    pub session: Option<String>,
    /// After which asking again makes sense.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without further details.
    pub fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            session: None,
            retry_after: None,
        }
    }

    /// About the CodeSession of this name.
    #[must_use]
    pub fn about(mut self, session: &str) -> Self {
        self.session = Some(session.to_owned());
        self
    }

    /// With the time after which asking again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The object in the body.
    pub fn status(&self) -> Status {
        let details = StatusDetails {
            name: self.session.clone(),
            group: self.session.as_ref().map(|_| GROUP.to_owned()),
            kind: self.session.as_ref().map(|_| "codesessions".to_owned()),
            retry_after_seconds: self.retry_after.map(whole_seconds),
            ..StatusDetails::default()
        };
        Status {
            status: Some("Failure".to_owned()),
            code: Some(i32::from(self.reason.code().as_u16())),
            reason: Some(self.reason.as_str().to_owned()),
            message: Some(self.message.clone()),
            details: (details != StatusDetails::default()).then_some(details),
            ..Status::default()
        }
    }
}

/// Rounded up: who comes a moment too early is refused again.
fn whole_seconds(wait: Duration) -> i32 {
    let rounded = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.reason.code(), Json(self.status())).into_response();
        let headers = response.headers_mut();
        if self.reason == RefusalReason::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}
