//! What an answer that is not a success means.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::redact::Redactor;
use crate::network::retry_after::retry_after;
use crate::providers::error::{ErrorClass, ProviderError, Sent, Subject};
use crate::providers::wire::link;

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
        "repository_access" | "repository_required" | "integration_not_connected" => {
            (None, Some(Subject::Repository))
        }
        "pr_resolution_failed" => (None, Some(Subject::PullRequest)),
        "invalid_branch_name" => (None, Some(Subject::Reference)),
        "agent_id_conflict" => (None, Some(Subject::SessionId)),
        _ => (None, None),
    }
}

/// The error that an answer other than a success stands for. `member` is what an error of the provider has besides `error` and
/// `code`.
pub(super) fn error_of(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    (redactor, member): (&Redactor, Option<&str>),
) -> ProviderError {
    let words = Words::of(body, member);
    let asked = retry_after(headers, SystemTime::now(), LONGEST_PAUSE);
    if let Some(stranger) = Stranger::of(status, headers, body, &words) {
        return ProviderError {
            retry_after: asked,
            ..stranger.error(status)
        };
    }
    let Words {
        code,
        message,
        help_url,
        ..
    } = words;
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
    let help = link(help_url).map(|url| redactor.message(&url));
    ProviderError {
        class,
        subject,
        status: Some(status.as_u16()),
        code,
        message: match help {
            // What a person has to open to mend it.
            Some(url) => format!("{} ({url})", message.trim_end_matches('.')),
            None => message,
        },
        retry_after: match class {
            ErrorClass::RateLimited => Some(asked.unwrap_or(DEFAULT_PAUSE)),
            _ => asked,
        },
        sent: Sent::Possibly,
    }
}

/// An answer that is not the provider's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// A web page.
    Page,
    /// A refusal that lacks the provider's shape: no key and no session is gone because of it.
    Shapeless,
}

impl Stranger {
    /// Whether this is one. A 429 says the same whoever says it, and asks for the same patience.
    fn of(status: StatusCode, headers: &HeaderMap, body: &[u8], words: &Words) -> Option<Self> {
        let status = status.as_u16();
        match status {
            429 => None,
            _ if is_page(headers, body) => Some(Self::Page),
            403 | 404 if !words.own_shape => Some(Self::Shapeless),
            // Only proxies and captive portals ask for a login of their own.
            407 | 511 => Some(Self::Shapeless),
            _ => None,
        }
    }

    /// Nothing of what it says is told: it is no one's message, and may describe a network.
    pub(super) fn error(self, status: StatusCode) -> ProviderError {
        let what = match self {
            Self::Page => "a web page",
            Self::Shapeless => "no error of the provider's form",
        };
        let status = status.as_u16();
        ProviderError {
            class: ErrorClass::Intermediary,
            ..ProviderError::unreadable(
                Some(status),
                format!(
                    "{what} came back (HTTP {status}), not an answer of the provider: check the endpoint, and any proxy, firewall or allow list in between"
                ),
            )
        }
    }
}

/// Whether a body is a web page.
pub(super) fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("text/html")
        });
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    begins == Some(&b'<') || (declared && !matches!(begins, Some(b'{' | b'[')))
}

/// What an error's body says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    code: Option<String>,
    message: Option<String>,
    /// The page on which a person can mend it.
    help_url: Option<String>,
    /// Whether the body has the form of a provider's error: an object with an `error` or a `code`.
    own_shape: bool,
}

impl Words {
    /// Reads `{"error":{"code","message","helpUrl"}}`, `{"error":"CODE","detail"}`, `{"error":"Title: text"}`,
    /// `{"code","message"}`, `{"message"}` and plain text.
    fn of(body: &[u8], member: Option<&str>) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            return Self {
                message: (!text.is_empty()).then(|| text.to_owned()),
                ..Self::default()
            };
        };
        let words = |object: &serde_json::Map<String, Value>| Self {
            code: object.get("code").and_then(text).filter(is_code),
            message: ["message", "detail"]
                .into_iter()
                .chain(member)
                .find_map(|name| object.get(name).and_then(text)),
            help_url: object.get("helpUrl").and_then(text),
            own_shape: true,
        };
        let outer = words(&object);
        let own_shape = object.contains_key("error")
            || outer.code.is_some()
            || member.is_some_and(|member| object.contains_key(member));
        let words = match object.get("error") {
            Some(Value::Object(inner)) => {
                let inner = words(inner);
                Self {
                    code: inner.code.or(outer.code),
                    message: inner.message.or(outer.message),
                    help_url: inner.help_url.or(outer.help_url),
                    own_shape,
                }
            }
            Some(Value::String(error)) if is_code(error) => Self {
                code: Some(error.clone()),
                ..outer
            },
            Some(Value::String(error)) => Self {
                message: outer.message.or_else(|| Some(error.clone())),
                ..outer
            },
            _ => outer,
        };
        Self { own_shape, ..words }
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

/// Whether a failed stop is the provider's refusal to stop what is not running, where its documents do not say how it refuses: a
/// stop has no body that could be wrong.
pub(in crate::providers) fn refuses_stop(error: &ProviderError) -> bool {
    matches!(
        error.class,
        ErrorClass::InvalidRequest | ErrorClass::Conflict
    ) && matches!(error.status, Some(400 | 409 | 422))
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
            (
                &Redactor::new(&Credential::new().with("api-key", "key_secret")),
                None,
            ),
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
    fn what_is_not_the_providers_own_answer_proves_nothing_and_is_not_quoted() {
        let page = "\u{feff} <!DOCTYPE html><title>Blocked by proxy-7 of ACME</title>";
        for (status, body) in [
            (400, page),
            (401, page),
            (403, page),
            (404, page),
            (409, page),
            (500, page),
            (503, "<?xml version='1.0'?><Error>AccessDenied</Error>"),
            (403, "Forbidden by policy 12 of proxy-7"),
            (403, ""),
            (403, r#"{"message":"Forbidden by proxy-7"}"#),
            (404, "404 page not found"),
            (404, ""),
            (404, r#"{"message":"no Route matched with those values"}"#),
            (404, "[1]"),
            (407, r#"{"error":"proxy-7 wants a login"}"#),
            (511, "log in at proxy-7"),
        ] {
            let error = error(status, body);
            assert_eq!(error.class, ErrorClass::Intermediary, "{status} {body}");
            assert_eq!((error.status, &error.code), (Some(status), &None));
            assert!(!error.message.contains("proxy-7"), "{}", error.message);
            assert_eq!(
                error.message.starts_with("a web page"),
                body.contains('<'),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn the_providers_own_refusals_keep_their_class() {
        for (status, body, class) in [
            (
                404,
                r#"{"error":{"code":"agent_not_found"}}"#,
                ErrorClass::NotFound,
            ),
            (
                404,
                r#"{"error":{"message":"No such agent"}}"#,
                ErrorClass::NotFound,
            ),
            (404, r#"{"error":"NOT_FOUND"}"#, ErrorClass::NotFound),
            (
                404,
                r#"{"code":"not_found","message":"m"}"#,
                ErrorClass::NotFound,
            ),
            (
                403,
                r#"{"error":{"code":"role_forbidden"}}"#,
                ErrorClass::Forbidden,
            ),
            (401, "unauthorized", ErrorClass::Unauthorized),
            (401, "", ErrorClass::Unauthorized),
            (400, "no such branch", ErrorClass::InvalidRequest),
            (503, "", ErrorClass::Unavailable),
            // Whoever says it: slower.
            (429, "<html>slow down</html>", ErrorClass::RateLimited),
        ] {
            assert_eq!(error(status, body).class, class, "{status} {body}");
        }
    }

    #[test]
    fn the_page_on_which_a_person_can_mend_it_is_shown() {
        let refused = |help: &str| {
            let body = format!(
                r#"{{"error":{{"code":"integration_not_connected","message":"Connect GitHub.","helpUrl":"{help}","provider":"github"}}}}"#
            );
            error(403, &body).message
        };
        assert_eq!(
            refused("https://cursor.com/dashboard?tab=integrations"),
            "Connect GitHub (https://cursor.com/dashboard?tab=integrations)"
        );
        assert_eq!(refused("javascript:alert(1)"), "Connect GitHub.");
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
        for (code, subject) in [
            ("repository_access", Subject::Repository),
            ("repository_required", Subject::Repository),
            ("pr_resolution_failed", Subject::PullRequest),
        ] {
            assert_eq!(of(400, code), (ErrorClass::InvalidRequest, Some(subject)));
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
            retry_after(&headers, now, LONGEST_PAUSE).map(|pause| pause.as_secs())
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
