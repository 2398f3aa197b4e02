//! The events of a session. Flapjack numbers them itself, from 1, over all messages of a session; its numbers are ours.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::wire::{Event as WireEvent, Events};
use super::{Flapjack, SESSIONS};
use crate::domain::ids::SessionId;
use crate::domain::timeline::{Entry, Event, EventType, MAX_PAGE, MAX_SEQ, Position};
use crate::providers::contract::{NextPage, Timeline, TimelinePage, TimelineRequest};
use crate::providers::error::ProviderError;
use crate::providers::http::Operation;

/// Why there is a gap, for people.
const MISSING: &str =
    "Flapjack does not tell these events, or tells them so that they cannot be read";
const TOO_LARGE: &str = "this event is larger than what is read of one answer";
/// What a payload says of an event in short, as far as it is documented.
const TELLING: [&str; 4] = ["text", "tool", "path", "status"];

/// What one request was answered.
enum Read {
    /// The events by their numbers, and whether there may be more.
    Events(BTreeMap<u64, WireEvent>, NextPage),
    /// The next event alone is too large.
    TooLarge,
}

#[async_trait]
impl Timeline for Flapjack {
    async fn page(
        &self,
        request: &TimelineRequest,
        limit: usize,
    ) -> Result<TimelinePage, ProviderError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page = TimelinePage {
            events: Vec::new(),
            next: NextPage::Never,
            position: Position {
                read: request.since,
                ..Position::default()
            },
        };
        let Some(newest) = request.runs.last() else {
            return Ok(page);
        };
        let idle = if newest.ended {
            NextPage::Never
        } else {
            NextPage::Later
        };
        let (events, next) = match self.read(&newest.session_id, request.since, limit).await? {
            Read::Events(events, next) => (events, next),
            Read::TooLarge => {
                let seq = request.since.saturating_add(1);
                page.events.push(Event::gap(seq, seq, None, TOO_LARGE));
                page.position.read = seq;
                page.next = NextPage::Now;
                return Ok(page);
            }
        };
        let mut last = request.since;
        for (seq, event) in events {
            let message = message_of(&event, request);
            if seq > last + 1 {
                page.events
                    .push(Event::gap(last + 1, seq - 1, message.clone(), MISSING));
            }
            let entry = Entry {
                message,
                ..entry(event)
            };
            page.events.push(self.api.shown(entry).numbered(seq));
            last = seq;
        }
        page.next = match next {
            NextPage::Now => NextPage::Now,
            NextPage::Later | NextPage::Never => idle,
        };
        if page.events.len() > limit {
            page.events.truncate(limit);
            page.next = NextPage::Now;
        }
        page.position.read = page.events.last().map_or(request.since, |event| event.seq);
        Ok(page)
    }
}

impl Flapjack {
    /// Reads the events after `since`, as many as are wanted and fit.
    async fn read(
        &self,
        session: &SessionId,
        since: u64,
        limit: usize,
    ) -> Result<Read, ProviderError> {
        let [api, sessions] = SESSIONS;
        let path = [api, sessions, session.as_str(), "events"];
        let since_text = since.to_string();
        let mut asked = limit;
        loop {
            let most = asked.to_string();
            let query = [("since", since_text.as_str()), ("limit", most.as_str())];
            let answer: Option<Events> = self
                .api
                .get_if_it_fits(Operation::Timeline, &path, &query)
                .await?;
            let Some(Events { events }) = answer else {
                if asked == 1 {
                    return Ok(Read::TooLarge);
                }
                asked = (asked / 8).max(1);
                continue;
            };
            let told = events.readable.len() + events.missing();
            let wanted: BTreeMap<u64, WireEvent> = events
                .readable
                .into_iter()
                .filter(|event| event.seq > since && event.seq <= MAX_SEQ)
                .map(|event| (event.seq, event))
                .collect();
            // Asked for more after an answer with nothing new, it would say the same at once.
            let more = told >= asked && !wanted.is_empty();
            let next = if more { NextPage::Now } else { NextPage::Later };
            return Ok(Read::Events(wanted, next));
        }
    }
}

/// The message that an event belongs to.
fn message_of(event: &WireEvent, request: &TimelineRequest) -> Option<String> {
    let id = event.cursor_run_id.as_ref();
    let of_its_run = id.and_then(|id| {
        request
            .runs
            .iter()
            .find(|run| run.run_id.as_ref().is_some_and(|run| run.as_str() == id.0))
    });
    let only = || match request.runs.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    of_its_run.or_else(only).map(|run| run.message.clone())
}

/// What an event says. One type is documented by an example (`tool_call`), others in words: "stdout, tool calls, file edits, etc."
/// They come from Cursor's runtime, so that its words are understood as well.
fn entry(event: WireEvent) -> Entry {
    let name = event.event_type.unwrap_or_default();
    let payload = event.payload.unwrap_or_default();
    let kind = match name.as_str() {
        "status" => EventType::Status,
        "assistant" => EventType::Assistant,
        "thinking" => EventType::Thinking,
        "tool_call" => EventType::ToolCall,
        "file_edit" => EventType::FileEdit,
        "stdout" | "stderr" => EventType::Output,
        "result" => EventType::Result,
        "error" => EventType::Error,
        _ => {
            return Entry {
                time: event.created_at,
                ..Entry::unknown(&name, payload)
            };
        }
    };
    Entry {
        time: event.created_at,
        text: in_short(&payload),
        payload,
        ..Entry::new(kind, "")
    }
}

/// What a payload says in short.
fn in_short(payload: &Value) -> String {
    let words = TELLING
        .iter()
        .filter_map(|name| payload.get(name)?.as_str());
    words.collect::<Vec<_>>().join(" ")
}
