//! Requests and answers between the server and a provider's state machine, free of sockets.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value};

/// A request whose body was read.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) tampering: Tampering,
}

/// What a fault changes about a launch or a list itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tampering {
    pub(crate) ignore_agent_id: bool,
    /// How long a new session stays out of lists and links, and its conversation empty.
    pub(crate) lag: Duration,
    /// The most items that a page may hold, besides the provider's own limit.
    pub(crate) largest_page: Option<usize>,
}

impl Call {
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.trim_start_matches('/').split('/').collect()
    }

    pub(crate) fn query_pairs(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.query.as_deref().unwrap_or("").as_bytes())
            .into_owned()
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON, if it is.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as a JSON object.
    pub(crate) fn json_body(&self) -> Result<Map<String, Value>, Refusal> {
        if self.body.is_empty() {
            return Err(Refusal::common(
                Reason::MissingBody,
                "Request body is required",
            ));
        }
        let content_type = self.header(CONTENT_TYPE.as_str()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::validation("Content-Type must be application/json"));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(Refusal::validation("Request body must be a JSON object")),
            Err(error) => Err(Refusal::validation(format!(
                "Invalid JSON in request body: {error}"
            ))),
        }
    }

    /// The credentials of one scheme of `Authorization`.
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, credentials) = self.header(AUTHORIZATION.as_str())?.split_once(' ')?;
        given
            .eq_ignore_ascii_case(scheme)
            .then(|| credentials.trim())
    }

    /// The key of `Authorization: Bearer KEY`.
    pub(crate) fn bearer_token(&self) -> Option<String> {
        self.authorization("bearer").map(str::to_owned)
    }

    /// User and password of `Authorization: Basic`, as `USER:PASSWORD`.
    pub(crate) fn basic_credentials(&self) -> Option<String> {
        String::from_utf8(BASE64.decode(self.authorization("basic")?).ok()?).ok()
    }

    /// The key of `Authorization: Bearer KEY`, or of `Basic` with the key as user name and an empty password.
    pub(crate) fn authorization_key(&self) -> Option<String> {
        let basic = || Some(self.basic_credentials()?.strip_suffix(':')?.to_owned());
        self.bearer_token().or_else(basic)
    }
}

/// An answer other than a refusal.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Headers that a fault asks for.
    pub(crate) extra_headers: Vec<(String, String)>,
    pub(crate) body: AnswerBody,
    pub(crate) effect: Option<Effect>,
    /// How long it is held back.
    pub(crate) latency: Duration,
}

#[derive(Debug)]
pub(crate) enum AnswerBody {
    Empty,
    Json(Value),
    File {
        media_type: String,
        content: Bytes,
    },
    /// Server-sent events, produced step by step by the provider's `stream`.
    Stream(StreamPosition),
}

/// How far a client has read a run's event stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamPosition {
    pub(crate) session: String,
    pub(crate) run: String,
    /// How many events of the run are done with.
    pub(crate) through: usize,
    pub(crate) greeted: bool,
    pub(crate) last_sent: super::clock::Moment,
    pub(crate) heartbeats: u32,
}

/// What a stream sends next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StreamStep {
    Send(String),
    Wait,
    End,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            extra_headers: Vec::new(),
            body: AnswerBody::Json(body),
            effect: None,
            latency: Duration::ZERO,
        }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(crate) fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    pub(crate) fn redirect(to: String) -> Self {
        Self {
            status: StatusCode::FOUND,
            headers: vec![("location", to)],
            extra_headers: Vec::new(),
            body: AnswerBody::Empty,
            effect: None,
            latency: Duration::ZERO,
        }
    }

    pub(crate) fn file(media_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: Vec::new(),
            extra_headers: Vec::new(),
            body: AnswerBody::File {
                media_type: media_type.into(),
                content: content.into(),
            },
            effect: None,
            latency: Duration::ZERO,
        }
    }
}

/// What a request changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) kind: EffectKind,
    pub(crate) session: String,
    pub(crate) run: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EffectKind {
    Launched,
    Messaged,
    Changed,
}

/// A refusal. The provider words it ([`ProviderApi::refusal`](super::provider::ProviderApi::refusal)).
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What a refusal is for.
#[derive(Debug)]
pub(crate) enum Code {
    /// A reason that every API has, each in its own word.
    Common(Reason),
    /// One provider's word, or the one that a fault asks for.
    Own(Cow<'static, str>),
}

/// Why any provider refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Unauthorized,
    NoSuchPath,
    MethodNotAllowed,
    TooManyRequests,
    TooLarge,
    MissingBody,
    /// Something in the body or the query.
    Invalid,
}

impl Reason {
    fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MissingBody | Self::Invalid => StatusCode::BAD_REQUEST,
        }
    }

    /// Cursor's word, which Firebender is assumed to share.
    pub(crate) fn cursor_word(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NoSuchPath => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooManyRequests => "rate_limit_exceeded",
            Self::TooLarge => "payload_too_large",
            Self::MissingBody => "missing_body",
            Self::Invalid => "validation_error",
        }
    }
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: Code::Own(code.into()),
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn common(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: reason.status(),
            code: Code::Common(reason),
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::common(Reason::Invalid, message)
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::common(Reason::NoSuchPath, format!("No such path: {path}"))
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(crate) fn rate_limited(message: impl Into<String>) -> Self {
        Self::common(Reason::TooManyRequests, message)
    }
}
