//! Answers that are altered on their way: by clocks that are wrong, and by who gives prompts back in another form.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::boundary::Boundary;
use crate::fault::Fault;

/// How wrong a clock is.
const WRONG: SignedDuration = SignedDuration::from_mins(20);
/// How an HTML comment of ours begins, and any ends.
const COMMENT: &str = "<!-- codeagents.dev/";
const COMMENT_END: &str = "-->";
/// How much of a prompt comes back that is cut.
const KEPT: usize = 4;

/// By how much the clocks of a run are ahead of the operator's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    api_server: SignedDuration,
    provider: SignedDuration,
}

impl Clocks {
    /// A clock is wrong in a whole run.
    pub(crate) fn of(faults: &[(Boundary, Fault)]) -> Self {
        let mut clocks = Self {
            api_server: SignedDuration::ZERO,
            provider: SignedDuration::ZERO,
        };
        for (_, fault) in faults {
            match fault {
                Fault::ServerAhead => clocks.api_server = WRONG,
                Fault::ServerBehind => clocks.api_server = -WRONG,
                Fault::ProviderAhead => clocks.provider = WRONG,
                Fault::ProviderBehind => clocks.provider = -WRONG,
                _ => {}
            }
        }
        clocks
    }

    /// The API server's own times in an answer. What clients wrote into an object stays.
    pub(crate) fn of_api_server(self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        if self.api_server.is_zero() {
            return body;
        }
        shift_date(headers, self.api_server);
        rewritten(body, |value| shift_metadata(value, self.api_server))
    }

    /// The same in an event of a watch.
    pub(crate) fn of_watch(self, line: Vec<u8>) -> Vec<u8> {
        if self.api_server.is_zero() {
            return line;
        }
        let mut line = rewritten(line.into(), |value| {
            shift_metadata(value, self.api_server);
        })
        .to_vec();
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        line
    }

    /// All times in an answer of a provider: they are its own.
    pub(crate) fn of_provider(self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        if self.provider.is_zero() {
            return body;
        }
        shift_date(headers, self.provider);
        rewritten(body, |value| {
            each_text(value, &mut |text| {
                if let Some(shifted) = shifted(text, self.provider) {
                    *text = shifted;
                }
            });
        })
    }
}

/// The body with its JSON changed; what is no JSON stays.
fn rewritten(body: Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    match serde_json::from_slice(&body) {
        Ok(mut value) => {
            change(&mut value);
            value.to_string().into()
        }
        Err(_) => body,
    }
}

fn shift_date(headers: &mut HeaderMap, by: SignedDuration) {
    let Some(date) = headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
    else {
        return;
    };
    let shifted = jiff::fmt::rfc2822::parse(date)
        .ok()
        .and_then(|date| date.timestamp().checked_add(by).ok())
        .and_then(|date| {
            let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
            printer.timestamp_to_rfc9110_string(&date).ok()
        })
        .and_then(|date| HeaderValue::from_str(&date).ok());
    if let Some(date) = shifted {
        headers.insert(header::DATE, date);
    }
}

fn shifted(text: &str, by: SignedDuration) -> Option<String> {
    let time: Timestamp = text.parse().ok()?;
    Some(time.checked_add(by).ok()?.to_string())
}

/// Times of creation and deletion, wherever there is metadata.
fn shift_metadata(value: &mut Value, by: SignedDuration) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let of_server = matches!(name.as_str(), "creationTimestamp" | "deletionTimestamp");
                match member {
                    Value::String(text) if of_server => {
                        if let Some(shifted) = shifted(text, by) {
                            *text = shifted;
                        }
                    }
                    other => shift_metadata(other, by),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                shift_metadata(item, by);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => {
            for item in items {
                each_text(item, change);
            }
        }
        Value::Object(members) => {
            for member in members.values_mut() {
                each_text(member, change);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The answer of a provider that gives prompts back in another form.
pub(crate) fn echoed(echo: Fault, body: Bytes) -> Bytes {
    rewritten(body, |value| {
        each_text(value, &mut |text| {
            if let Some(begin) = text.find(COMMENT) {
                *text = altered(echo, text, begin);
            }
        });
    })
}

fn altered(echo: Fault, text: &str, begin: usize) -> String {
    let (before, comment) = text.split_at(begin);
    match echo {
        Fault::EchoStripped => {
            let after = comment
                .split_once(COMMENT_END)
                .map_or("", |(_, after)| after);
            format!("{}{after}", before.trim_end())
        }
        Fault::EchoCut => text.chars().take(KEPT).collect(),
        _ => text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const PROMPT: &str = "Do it\n\n<!-- codeagents.dev/0123abcd/uid/1 -->\nlast";

    fn echo(fault: Fault) -> Value {
        let body = json!({"messages": [{"text": PROMPT}, {"text": "other"}]});
        serde_json::from_slice(&echoed(fault, body.to_string().into())).unwrap()
    }

    #[test]
    fn prompts_come_back_altered_and_nothing_else() {
        for (fault, text) in [
            (Fault::EchoStripped, "Do it\nlast"),
            (Fault::EchoCut, "Do i"),
            (
                Fault::EchoRendered,
                "Do it\n\n&lt;!-- codeagents.dev/0123abcd/uid/1 --&gt;\nlast",
            ),
        ] {
            let messages = json!({"messages": [{"text": text}, {"text": "other"}]});
            assert_eq!(echo(fault), messages, "{fault}");
        }
    }

    #[test]
    fn the_api_servers_times_are_shifted_and_not_those_that_clients_wrote() {
        let clocks = Clocks {
            api_server: -WRONG,
            provider: SignedDuration::ZERO,
        };
        let object = json!({
            "metadata": {"creationTimestamp": "2026-01-01T12:00:00Z"},
            "status": {"startedAt": "2026-01-01T12:00:00Z"},
        });
        let line = clocks.of_watch(object.to_string().into_bytes());
        assert_eq!(line.last(), Some(&b'\n'));
        let seen: Value = serde_json::from_slice(&line).unwrap();
        let expected = json!({
            "metadata": {"creationTimestamp": "2026-01-01T11:40:00Z"},
            "status": {"startedAt": "2026-01-01T12:00:00Z"},
        });
        assert_eq!(seen, expected);
    }

    #[test]
    fn all_times_of_a_provider_are_shifted_and_its_date_as_well() {
        let clocks = Clocks {
            api_server: SignedDuration::ZERO,
            provider: WRONG,
        };
        let mut headers = HeaderMap::new();
        let date = HeaderValue::from_static("Thu, 01 Jan 2026 12:00:00 GMT");
        headers.insert(header::DATE, date);
        let body = json!({"createdAt": "2026-01-01T12:00:00.000Z", "name": "x"});
        let body = clocks.of_provider(&mut headers, body.to_string().into());
        let seen: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            seen,
            json!({"createdAt": "2026-01-01T12:20:00Z", "name": "x"})
        );
        let date = headers.get(header::DATE).unwrap();
        assert_eq!(date, "Thu, 01 Jan 2026 12:20:00 GMT");
    }
}
