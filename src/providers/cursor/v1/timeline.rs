//! What an agent does, from the stream of each of its runs.
//!
//! A run is one record: the events that have an id, in the order in which they are told, but for those that say the same in another form
//! (`interaction_update`) and the end of the stream (`done`). `status`, `heartbeat` and `error` have no id: they are told again on every
//! connection, so that they cannot be counted. Cursor keeps the stream of a run for a while; after that it answers 410.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt, unfold};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::agents::CursorV1;
use crate::domain::timeline::{Entry, Event, EventType, MAX_PAGE, Numbering};
use crate::providers::contract::{
    MessageRun, NextPage, Timeline, TimelinePage, TimelineRequest, TimelineStream,
};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{EventStream, ServerEvent};

const EXPIRED: &str = "Cursor no longer has the events of this run";
const UNKNOWN_RUN: &str = "the run of this message is not known";
const TOO_MANY: &str = "there are more events than are read of one run";
const SHORTER: &str = "Cursor told more events of this run before";
const UNREADABLE: &str = "this event cannot be read";
const TOO_LARGE: &str = "this event is larger than what is read of one";
/// How often in a row a stream is connected again that tells nothing.
const TRIES: u32 = 6;
/// The longest pause before it is.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Reads the runs of an agent one after the other.
struct Reader<'a> {
    cursor: &'a CursorV1,
    runs: Vec<MessageRun>,
    numbering: Numbering,
    connection: Option<EventStream<'a>>,
    /// How many entries of this connection have been read before: it began at the beginning of the run.
    repeated: u64,
}

/// What reading on came to.
enum Step {
    Event(Event),
    /// Nothing more happened for as long as one wanted to wait.
    Quiet,
    /// Everything of every run was told.
    End,
    /// The connection ended before the run's record did.
    Cut(ProviderError),
}

/// What one server-sent event means.
enum Meaning {
    Entry(Entry),
    /// The record ends here.
    Done,
    /// The stream has a problem, not the run.
    Broken,
    Nothing,
}

#[async_trait]
impl Timeline for CursorV1 {
    async fn page(
        &self,
        request: &TimelineRequest,
        limit: usize,
    ) -> Result<TimelinePage, ProviderError> {
        let page = self.timeline_page(request, limit).await?;
        match request.without_lengths(&page) {
            Some(anew) => self.timeline_page(&anew, limit).await,
            None => Ok(page),
        }
    }
}

impl CursorV1 {
    async fn timeline_page(
        &self,
        request: &TimelineRequest,
        limit: usize,
    ) -> Result<TimelinePage, ProviderError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut reader = Reader::new(self, request);
        let mut events = Vec::new();
        let next = loop {
            if events.len() >= limit {
                break NextPage::Now;
            }
            match reader.step(Some(self.api.stream_quiet())).await? {
                Step::Event(event) => events.push(event),
                Step::Quiet => break NextPage::Later,
                Step::End if request.runs.iter().all(|run| run.ended) => break NextPage::Never,
                Step::End => break NextPage::Later,
                Step::Cut(error) if events.is_empty() => return Err(error),
                Step::Cut(_) => break NextPage::Now,
            }
        };
        Ok(TimelinePage {
            events,
            next,
            position: reader.numbering.position().clone(),
        })
    }
}

impl TimelineStream for CursorV1 {
    fn follow<'a>(
        &'a self,
        request: TimelineRequest,
    ) -> BoxStream<'a, Result<Event, ProviderError>> {
        let follower = Follower {
            reader: Reader::new(self, &request),
            failures: 0,
        };
        let events = unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Ok(event) => event.map(|event| (Ok(event), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        events.boxed()
    }
}

/// Reads on whatever happens to the connection.
struct Follower<'a> {
    reader: Reader<'a>,
    /// How often in a row the connection ended without an event.
    failures: u32,
}

impl Follower<'_> {
    async fn next(&mut self) -> Result<Option<Event>, ProviderError> {
        loop {
            let error = match self.reader.step(None).await {
                Ok(Step::Event(event)) => {
                    self.failures = 0;
                    return Ok(Some(event));
                }
                Ok(Step::Quiet | Step::End) => return Ok(None),
                Ok(Step::Cut(error)) => error,
                Err(error) if may_pass(error.class) => error,
                Err(error) => return Err(error),
            };
            self.failures += 1;
            if self.failures > TRIES {
                return Err(error);
            }
            let doubled = 1 << (self.failures - 1);
            let pause = self.reader.cursor.api.stream_retry() * doubled;
            let pause = pause
                .min(LONGEST_PAUSE)
                .max(error.retry_after.unwrap_or_default());
            sleep(pause).await;
        }
    }
}

/// Whether asking again may help, without anybody doing something.
fn may_pass(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Unavailable
        | ErrorClass::Timeout
        | ErrorClass::RateLimited
        | ErrorClass::Intermediary
        | ErrorClass::Protocol
        | ErrorClass::Unknown => true,
        ErrorClass::Unauthorized
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::InvalidRequest
        | ErrorClass::QuotaExhausted => false,
    }
}

impl<'a> Reader<'a> {
    fn new(cursor: &'a CursorV1, request: &TimelineRequest) -> Self {
        Self {
            cursor,
            runs: request.runs.clone(),
            numbering: Numbering::new(request.from.as_ref(), request.since),
            connection: None,
            repeated: 0,
        }
    }

    /// Reads on to the next event. `patience` is how long to wait for it, whatever else is told meanwhile, such as signs of life; without,
    /// as long as it takes.
    ///
    /// # Errors
    /// If the stream cannot be connected.
    async fn step(&mut self, patience: Option<Duration>) -> Result<Step, ProviderError> {
        let mut until = None;
        loop {
            let Some(run) = self.runs.get(self.numbering.record()).cloned() else {
                return Ok(Step::End);
            };
            if self.numbering.is_full() {
                // One that is as long as it was before has no gap.
                if let Some(gap) = self.lose(&run, TOO_MANY) {
                    return Ok(Step::Event(gap));
                }
                continue;
            }
            let Some(connection) = self.connection.as_mut() else {
                until = None;
                match self.connect(&run).await? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            };
            let told = match patience {
                None => connection.next().await,
                Some(patience) => {
                    let until = *until.get_or_insert_with(|| Instant::now() + patience);
                    match timeout_at(until, connection.next()).await {
                        Ok(told) => told,
                        Err(_) => return Ok(Step::Quiet),
                    }
                }
            };
            let repeated = self.repeated;
            let event = match told {
                Ok(Some(event)) => self.read(&run, event),
                Ok(None) if run.ended => self.close(&run),
                Ok(None) => {
                    Some(self.cut("Cursor ended the stream of events before the run ended"))
                }
                Err(error) => {
                    self.connection = None;
                    Some(Step::Cut(error))
                }
            };
            if let Some(step) = event {
                return Ok(step);
            }
            if self.repeated < repeated {
                // It comes nearer.
                until = None;
            }
        }
    }

    /// Connects to the stream of `run`, behind what was read of it; `None` goes on.
    async fn connect(&mut self, run: &MessageRun) -> Result<Option<Step>, ProviderError> {
        let newest = self.numbering.record() + 1 == self.runs.len();
        let Some(run_id) = &run.run_id else {
            return Ok(match newest && !run.ended {
                true => Some(Step::Quiet),
                false => self.lose(run, UNKNOWN_RUN).map(Step::Event),
            });
        };
        let position = self.numbering.position();
        let (mark, read) = (position.mark.clone(), position.read);
        let path = [
            "v1",
            "agents",
            run.session_id.as_str(),
            "runs",
            run_id.as_str(),
            "stream",
        ];
        let api = &self.cursor.api;
        self.repeated = if mark.is_some() { 0 } else { read };
        let opened = match api.event_stream(&path, mark.as_deref()).await {
            // Cursor does not know the event any more that was read last: it tells the run from its beginning.
            Err(error)
                if mark.is_some() && error.code.as_deref() == Some("invalid_last_event_id") =>
            {
                self.repeated = read;
                api.event_stream(&path, None).await
            }
            opened => opened,
        };
        match opened {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(None)
            }
            Err(error)
                if error.status == Some(410)
                    || (run.ended && error.class == ErrorClass::NotFound) =>
            {
                Ok(self.lose(run, EXPIRED).map(Step::Event))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes one event of the stream; `None` goes on.
    fn read(&mut self, run: &MessageRun, event: ServerEvent) -> Option<Step> {
        let id = event.id.clone();
        let entry = match meaning(event) {
            Meaning::Entry(entry) => entry,
            Meaning::Done => return self.close(run),
            Meaning::Broken => {
                return Some(self.cut("Cursor cannot tell the events of the run now"));
            }
            Meaning::Nothing => return None,
        };
        if self.repeated > 0 {
            self.repeated -= 1;
            return None;
        }
        let entry = Entry {
            message: Some(run.message.clone()),
            ..entry
        };
        let shown = self.cursor.api.shown(entry);
        self.numbering.entry(shown, id).map(Step::Event)
    }

    fn cut(&mut self, why: &str) -> Step {
        self.connection = None;
        Step::Cut(ProviderError {
            class: ErrorClass::Unavailable,
            ..ProviderError::unreadable(None, why)
        })
    }

    fn close(&mut self, run: &MessageRun) -> Option<Step> {
        self.connection = None;
        let gap = self.numbering.close(Some(run.message.clone()), SHORTER);
        gap.map(Step::Event)
    }

    fn lose(&mut self, run: &MessageRun, why: &str) -> Option<Event> {
        self.connection = None;
        self.numbering.lose(Some(run.message.clone()), why)
    }
}

/// What an event of the stream says.
fn meaning(event: ServerEvent) -> Meaning {
    let ServerEvent { name, id, data } = event;
    match name.as_str() {
        "done" => return Meaning::Done,
        "error" if id.is_none() => return Meaning::Broken,
        "interaction_update" => return Meaning::Nothing,
        _ if id.is_none() => return Meaning::Nothing,
        _ => {}
    }
    let Some(data) = data else {
        return Meaning::Entry(Entry::new(EventType::Error, TOO_LARGE));
    };
    let Ok(payload) = serde_json::from_str::<Value>(&data) else {
        return Meaning::Entry(Entry::new(EventType::Error, UNREADABLE));
    };
    let text = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Meaning::Entry(match name.as_str() {
        "assistant" => Entry::new(EventType::Assistant, text("text")),
        "thinking" => Entry::new(EventType::Thinking, text("text")),
        "result" => Entry {
            text: text("text"),
            payload: without(payload, "text"),
            ..Entry::new(EventType::Result, "")
        },
        "tool_call" => Entry {
            text: [text("name"), text("status")].join(" ").trim().to_owned(),
            payload,
            ..Entry::new(EventType::ToolCall, "")
        },
        _ => Entry::unknown(&name, payload),
    })
}

/// `payload` without a member that stands elsewhere.
fn without(mut payload: Value, member: &str) -> Value {
    if let Value::Object(members) = &mut payload {
        members.remove(member);
    }
    payload
}
