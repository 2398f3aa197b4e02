//! Faults: what goes wrong between a client and a provider, injected for the next matching requests.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alter::Echo;
use super::http::Call;
use super::operation::{Operation, OperationClass, Provider};

/// A fault for the next `times` requests that match, after the first `skip` of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub when: Matcher,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests it hits; `None`: all. Left out: one.
    #[serde(default = "once")]
    pub times: Option<u32>,
    pub fault: FaultKind,
}

fn once() -> Option<u32> {
    Some(1)
}

fn zero() -> Value {
    Value::from(0)
}

impl Fault {
    /// A fault for the next request that matches.
    pub fn once(when: Matcher, fault: FaultKind) -> Self {
        Self {
            when,
            skip: 0,
            times: once(),
            fault,
        }
    }

    /// A fault for every request that matches.
    pub fn always(when: Matcher, fault: FaultKind) -> Self {
        Self {
            times: None,
            ..Self::once(when, fault)
        }
    }
}

/// Which requests a fault is for. `None` matches all; what is given must all match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    pub provider: Option<Provider>,
    pub operation: Option<Operation>,
    pub class: Option<OperationClass>,
    /// E.g. `POST`, in capitals.
    pub method: Option<String>,
    pub path_contains: Option<String>,
    /// Whether a page after the first is asked for (`true`), or anything else (`false`).
    pub later_page: Option<bool>,
}

impl Matcher {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// One operation.
    pub fn operation(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::default()
        }
    }

    /// Every operation of a class, at any provider.
    pub fn class(class: OperationClass) -> Self {
        Self {
            class: Some(class),
            ..Self::default()
        }
    }

    fn matches(&self, provider: Provider, operation: Option<Operation>, call: &Call) -> bool {
        let asks_for_later_page = || {
            call.query_pairs().iter().any(|(name, value)| {
                matches!(name.as_str(), "cursor" | "page_token") && !value.is_empty()
            })
        };
        self.provider.is_none_or(|only| only == provider)
            && (self.operation.is_none() || self.operation == operation)
            && (self.class.is_none() || self.class == operation.map(Operation::class))
            && self
                .method
                .as_ref()
                .is_none_or(|only| only == call.method.as_str())
            && self
                .path_contains
                .as_ref()
                .is_none_or(|text| call.path.contains(text.as_str()))
            && self
                .later_page
                .is_none_or(|later| later == asks_for_later_page())
    }
}

/// What goes wrong. *Before*: the request has no effect. *After*: it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Before: the connection is closed without an answer.
    DropBefore,
    /// After: the connection is closed without an answer.
    DropAfter,
    /// Before: nothing happens for this long, then the connection is closed.
    Hang {
        #[serde(rename = "for", with = "friendly")]
        duration: Duration,
    },
    /// Before: no answer ever comes, and the connection stays open.
    SilentBefore,
    /// After: no answer ever comes, and the connection stays open.
    SilentAfter,
    /// After: the answer comes this much later.
    Delay {
        #[serde(with = "friendly")]
        by: Duration,
    },
    /// The request takes effect only `after` this long (as a proxy that buffers it would do); the connection is closed without an answer after
    /// `close_after`.
    LateCommit {
        #[serde(with = "friendly")]
        after: Duration,
        #[serde(with = "friendly")]
        close_after: Duration,
    },
    /// Before: the provider's error body with this status and code.
    ErrorBefore { status: u16, code: String },
    /// Before: the provider's error body with this status, code and sentence, e.g. a stop that is refused with a reason.
    Refused {
        status: u16,
        code: String,
        message: String,
    },
    /// Before: a web page (`text/html`) with this status, as a proxy, a firewall or a sign-in page in between answers.
    WebPage { status: u16 },
    /// After: the provider's error body with this status and code.
    ErrorAfter { status: u16, code: String },
    /// Before: 429, with rate limit headers only if `retry_after` (seconds) is given.
    RateLimited { retry_after: Option<u64> },
    /// Before: any status and body, without the provider's shape.
    Respond {
        status: u16,
        #[serde(default)]
        headers: Vec<(String, String)>,
        body: String,
    },
    /// After: the JSON is cut in the middle.
    TruncatedBody,
    /// After: the JSON object or array gets one more member of this many bytes, at most 256 MiB.
    HugeBody { bytes: usize },
    /// After: every member of this name is a text of this many bytes, at most 256 MiB. If the answer has none, it is added to the outermost object.
    HugeField { member: String, bytes: usize },
    /// After: every member of this name is an array of this many `item`s (default `0`), at most 256 Mi. If the answer has none, it is added to
    /// the outermost object.
    HugeArray {
        member: String,
        items: usize,
        #[serde(default = "zero")]
        item: Value,
    },
    /// After: prompts are given back altered, where a conversation or a session is read.
    Echo { how: Echo },
    /// After: the list says that there is a further page, by this token. Nothing where the list has no pages (Flapjack).
    PageToken { token: String },
    /// After: every `status` in the answer is this word.
    UnknownStatus { value: String },
    /// The session that this launch creates is missing from lists and links, and its conversation is empty, for this long.
    Lag {
        #[serde(rename = "for", with = "friendly")]
        duration: Duration,
    },
    /// The launch behaves as if the client had not chosen an id (an older server).
    IgnoreAgentId,
    /// A page of a list holds at most this many items, whatever was asked for. Nothing where the list has no pages (Flapjack, Firetiger).
    SmallPages { items: usize },
    /// A stream is cut, without an end, once this many bytes were sent: mid-event, mid-character.
    CutStream { after_bytes: usize },
    /// A stream answers with one `error` event, e.g. `stream_unavailable`, and ends.
    StreamError { code: String },
}

impl FaultKind {
    /// The word for it in records, the same as in the control API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DropBefore => "drop_before",
            Self::DropAfter => "drop_after",
            Self::Hang { .. } => "hang",
            Self::SilentBefore => "silent_before",
            Self::SilentAfter => "silent_after",
            Self::Delay { .. } => "delay",
            Self::LateCommit { .. } => "late_commit",
            Self::ErrorBefore { .. } => "error_before",
            Self::Refused { .. } => "refused",
            Self::WebPage { .. } => "web_page",
            Self::ErrorAfter { .. } => "error_after",
            Self::RateLimited { .. } => "rate_limited",
            Self::Respond { .. } => "respond",
            Self::TruncatedBody => "truncated_body",
            Self::HugeBody { .. } => "huge_body",
            Self::HugeField { .. } => "huge_field",
            Self::HugeArray { .. } => "huge_array",
            Self::Echo { .. } => "echo",
            Self::PageToken { .. } => "page_token",
            Self::UnknownStatus { .. } => "unknown_status",
            Self::Lag { .. } => "lag",
            Self::IgnoreAgentId => "ignore_agent_id",
            Self::SmallPages { .. } => "small_pages",
            Self::CutStream { .. } => "cut_stream",
            Self::StreamError { .. } => "stream_error",
        }
    }
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Fault>,
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub(crate) fn armed(&self) -> &[Fault] {
        &self.armed
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The fault for this request: the oldest that matches and is not skipping. One request meets at most one.
    pub(crate) fn take(
        &mut self,
        provider: Provider,
        operation: Option<Operation>,
        call: &Call,
    ) -> Option<FaultKind> {
        let mut taken = None;
        for fault in &mut self.armed {
            if !fault.when.matches(provider, operation, call) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(left) = &mut fault.times {
                *left = left.saturating_sub(1);
            }
            taken = Some(fault.fault.clone());
            break;
        }
        self.armed.retain(|fault| fault.times != Some(0));
        taken
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_skips_hits_and_is_gone() {
        let mut faults = Faults::default();
        faults.inject(Fault {
            skip: 1,
            times: Some(2),
            ..Fault::once(Matcher::class(OperationClass::Launch), FaultKind::DropAfter)
        });
        let call = Call {
            method: http::Method::POST,
            path: "/v1/agents".to_owned(),
            query: None,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            tampering: crate::http::Tampering::default(),
        };
        let mut launch = || {
            faults.take(
                Provider::Cursor,
                Some(Operation::CursorV1CreateAgent),
                &call,
            )
        };
        assert_eq!(launch(), None);
        assert_eq!(launch(), Some(FaultKind::DropAfter));
        assert_eq!(launch(), Some(FaultKind::DropAfter));
        assert_eq!(launch(), None);
        assert!(faults.armed().is_empty());
    }

    #[test]
    fn the_control_api_writes_a_fault_like_this() {
        let fault: Fault = serde_json::from_str(
            r#"{"when": {"operation": "cursor_v1.create_agent"}, "fault": {"kind": "late_commit", "after": "1s", "close_after": "200ms"}}"#,
        )
        .unwrap();
        assert_eq!(fault.times, Some(1));
        assert_eq!(
            fault.fault,
            FaultKind::LateCommit {
                after: Duration::from_secs(1),
                close_after: Duration::from_millis(200)
            }
        );
    }

    #[test]
    fn every_kind_is_written_as_it_is_named() {
        for kind in [
            json!({"kind": "silent_before"}),
            json!({"kind": "silent_after"}),
            json!({"kind": "refused", "status": 422, "code": "seat_required", "message": "stopping needs a seat"}),
            json!({"kind": "web_page", "status": 403}),
            json!({"kind": "huge_field", "member": "summary", "bytes": 8}),
            json!({"kind": "huge_array", "member": "agents", "items": 8, "item": {}}),
            json!({"kind": "echo", "how": {"cut_at": 20}}),
            json!({"kind": "echo", "how": "comments_stripped"}),
            json!({"kind": "page_token", "token": "elsewhere"}),
        ] {
            let read: FaultKind = serde_json::from_value(kind.clone()).unwrap();
            assert_eq!(kind["kind"], read.name());
            assert_eq!(serde_json::to_value(&read).unwrap(), kind);
        }
    }

    #[test]
    fn a_fault_of_an_unknown_kind_or_field_is_refused() {
        for text in [
            r#"{"fault": {"kind": "explode"}}"#,
            r#"{"fault": {"kind": "drop_after"}, "time": 3}"#,
            r#"{"when": {"operation": "cursor_v1.explode"}, "fault": {"kind": "drop_after"}}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(text).is_err(), "{text}");
        }
    }
}
