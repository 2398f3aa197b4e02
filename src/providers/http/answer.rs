//! What an answer that is not a success means.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::redact::Redactor;
use crate::providers::error::{ErrorClass, ProviderError, Sent, Subject};

/// The pause after a 429 without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const LONGEST_CODE: usize = 64;

/// The class of an answer by its status alone; the provider's code may say it more exactly.
pub fn class_of_status(status: u16) -> ErrorClass {
    match status {
        // 501: the request as such is not served; sending it again changes nothing.
        400 | 405 | 413 | 415 | 422 | 501 => ErrorClass::InvalidRequest,
        401 => ErrorClass::Unauthorized,
        402 => ErrorClass::QuotaExhausted,
        403 => ErrorClass::Forbidden,
        404 => ErrorClass::NotFound,
        409 => ErrorClass::Conflict,
        429 => ErrorClass::RateLimited,
        408 | 504 => ErrorClass::Timeout,
        500..=599 => ErrorClass::Unavailable,
        _ => ErrorClass::Unknown,
    }
}

/// What a provider's code says beyond the status. The codes are Cursor's (its documentation of errors, October 2026); those
/// of other providers that look the same mean the same.
fn meaning_of_code(code: &str) -> (Option<ErrorClass>, Option<Subject>) {
    match code.to_ascii_lowercase().as_str() {
        "usage_limit_exceeded" | "plan_required" => (Some(ErrorClass::QuotaExhausted), None),
        "invalid_model" => (None, Some(Subject::Model)),
        "repository_access"
        | "repository_required"
        | "pr_resolution_failed"
        | "integration_not_connected" => (None, Some(Subject::Repository)),
        "invalid_branch_name" => (None, Some(Subject::Reference)),
        "agent_id_conflict" => (None, Some(Subject::SessionId)),
        _ => (None, None),
    }
}

/// The error that an answer other than a success stands for.
pub(super) fn error_of(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    redactor: &Redactor,
) -> ProviderError {
    let Words { code, message } = Words::of(body);
    let code = code.filter(|code| redactor.redact(code) == *code);
    let (class, subject) = match code.as_deref() {
        Some(code) if status.is_client_error() => meaning_of_code(code),
        _ => (None, None),
    };
    let class = class.unwrap_or_else(|| class_of_status(status.as_u16()));
    let message = message
        .map(|message| redactor.message(&message))
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| match &code {
            Some(code) => format!("HTTP {status}: {code}"),
            None => format!("HTTP {status}"),
        });
    let asked = retry_after(headers, SystemTime::now());
    ProviderError {
        class,
        subject,
        status: Some(status.as_u16()),
        code,
        message,
        retry_after: match class {
            ErrorClass::RateLimited => Some(asked.unwrap_or(DEFAULT_PAUSE)),
            _ => asked,
        },
        sent: Sent::Possibly,
    }
}

/// `Retry-After`, in seconds or as a date; at least a second, at most an hour.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds is still a number of seconds.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default()
    };
    Some(asked.clamp(Duration::from_secs(1), LONGEST_PAUSE))
}

/// What an error's body says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    code: Option<String>,
    message: Option<String>,
}

impl Words {
    /// Reads `{"error":{"code","message"}}`, `{"error":"CODE","detail"}`, `{"error":"Title: text"}`, `{"code","message"}`,
    /// `{"message"}` and plain text. A web page is nobody's message.
    fn of(body: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            return Self {
                code: None,
                message: (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned()),
            };
        };
        let words = |object: &serde_json::Map<String, Value>| Self {
            code: object.get("code").and_then(text).filter(is_code),
            message: ["message", "detail"]
                .iter()
                .find_map(|name| object.get(*name).and_then(text)),
        };
        let outer = words(&object);
        match object.get("error") {
            Some(Value::Object(inner)) => {
                let inner = words(inner);
                Self {
                    code: inner.code.or(outer.code),
                    message: inner.message.or(outer.message),
                }
            }
            Some(Value::String(error)) if is_code(error) => Self {
                code: Some(error.clone()),
                message: outer.message,
            },
            Some(Value::String(error)) => Self {
                code: outer.code,
                message: outer.message.or_else(|| Some(error.clone())),
            },
            _ => outer,
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[expect(clippy::ptr_arg, reason = "used as a filter of Option<String>")]
fn is_code(text: &String) -> bool {
    (1..=LONGEST_CODE).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;
    use crate::providers::credential::Credential;

    fn error(status: u16, body: &str) -> ProviderError {
        error_of(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
            &Redactor::new(&Credential::new().with("api-key", "key_secret")),
        )
    }

    #[test]
    fn every_documented_shape_of_a_body_is_read() {
        for (body, code, message) in [
            (
                r#"{"error":{"code":"invalid_model","message":"no such model"}}"#,
                Some("invalid_model"),
                "no such model",
            ),
            (
                r#"{"error":"SESSION_ACTIVE","detail":"cancel it first"}"#,
                Some("SESSION_ACTIVE"),
                "cancel it first",
            ),
            (
                r#"{"error":"Bad Request: no repository"}"#,
                None,
                "Bad Request: no repository",
            ),
            (
                r#"{"code":"cursor_expired","message":"start again"}"#,
                Some("cursor_expired"),
                "start again",
            ),
            (r#"{"message":"plain"}"#, None, "plain"),
            (
                r#"{"code":"only_code"}"#,
                Some("only_code"),
                "HTTP 400 Bad Request: only_code",
            ),
            ("  raw text\n", None, "raw text"),
            (
                "<html><body>gateway</body></html>",
                None,
                "HTTP 400 Bad Request",
            ),
            ("", None, "HTTP 400 Bad Request"),
            (
                r#"{"error":{"code":7,"message":["x"]}}"#,
                None,
                "HTTP 400 Bad Request",
            ),
            ("[1,2]", None, "[1,2]"),
        ] {
            let error = error(400, body);
            assert_eq!(
                (error.code.as_deref(), error.message.as_str()),
                (code, message),
                "{body}"
            );
            assert_eq!(error.class, ErrorClass::InvalidRequest);
        }
    }

    #[test]
    fn codes_say_more_than_the_status() {
        let of = |status, code: &str| {
            let error = error(
                status,
                &format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#),
            );
            (error.class, error.subject)
        };
        assert_eq!(
            of(429, "usage_limit_exceeded"),
            (ErrorClass::QuotaExhausted, None)
        );
        assert_eq!(
            of(429, "rate_limit_exceeded"),
            (ErrorClass::RateLimited, None)
        );
        assert_eq!(of(403, "plan_required"), (ErrorClass::QuotaExhausted, None));
        assert_eq!(of(403, "role_forbidden"), (ErrorClass::Forbidden, None));
        assert_eq!(
            of(403, "integration_not_connected"),
            (ErrorClass::Forbidden, Some(Subject::Repository))
        );
        assert_eq!(
            of(400, "invalid_model"),
            (ErrorClass::InvalidRequest, Some(Subject::Model))
        );
        for code in [
            "repository_access",
            "repository_required",
            "pr_resolution_failed",
        ] {
            assert_eq!(
                of(400, code),
                (ErrorClass::InvalidRequest, Some(Subject::Repository))
            );
        }
        assert_eq!(
            of(409, "agent_id_conflict"),
            (ErrorClass::Conflict, Some(Subject::SessionId))
        );
        assert_eq!(
            of(500, "usage_limit_exceeded"),
            (ErrorClass::Unavailable, None)
        );
        assert_eq!(error(402, "").class, ErrorClass::QuotaExhausted);
    }

    #[test]
    fn a_key_in_a_body_is_neither_message_nor_code() {
        let error = error(
            401,
            r#"{"error":{"code":"key_secret","message":"bad key key_secret"}}"#,
        );
        assert_eq!(error.code, None);
        assert_eq!(error.message, "bad key [redacted]");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_believed_within_limits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            retry_after(&headers, now).map(|pause| pause.as_secs())
        };
        let in_a_minute = httpdate::fmt_http_date(now + Duration::from_secs(60));
        let yesterday = httpdate::fmt_http_date(now - Duration::from_secs(86_400));
        for (value, pause) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("999999", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            (in_a_minute.as_str(), Some(60)),
            (yesterday.as_str(), Some(1)),
            ("soon", None),
            ("-5", None),
        ] {
            assert_eq!(read(value), pause, "{value}");
        }
        assert_eq!(error(429, "").retry_after, Some(DEFAULT_PAUSE));
        assert_eq!(error(503, "").retry_after, None);
    }
}
