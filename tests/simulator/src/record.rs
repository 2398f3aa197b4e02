//! What the simulator saw: every request and every launch, so that a test can count them.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::clock::{Clock, Moment};
use super::operation::{Operation, OperationClass, Provider};
use super::timeline::Timeline;
use super::webhook::Webhook;

/// One request. It never holds a key, only the key's name.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Position among all requests since the start.
    pub sequence: u64,
    pub provider: Provider,
    /// `None`: no such path or method.
    pub operation: Option<Operation>,
    pub class: Option<OperationClass>,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    /// Name of the key; `None`: none or an unknown one.
    pub key: Option<String>,
    /// Number of the TCP connection, unique in one simulator.
    pub connection: u64,
    /// Position of this request on its connection, from 0. 0: the connection was fresh.
    pub position_on_connection: u64,
    pub at: Timestamp,
    /// Whether it changed something: started, continued, cancelled, archived or deleted.
    pub accepted: bool,
    /// Status of the answer; `None`: the connection was or will be closed without one.
    pub status: Option<u16>,
    pub session: Option<String>,
    pub run: Option<String>,
    /// The id that the client chose for the session (Cursor v1).
    pub agent_id: Option<String>,
    /// Installation, uid and attempt of the operator's marker line.
    pub marker: Option<String>,
    pub idempotency_key: Option<String>,
    /// The fault that was applied.
    pub fault: Option<String>,
    pub body_bytes: usize,
    /// Names of the body's top-level fields; values are left out because they may be secret.
    pub body_fields: Vec<String>,
}

/// Something paid that was accepted: a session or a further message.
#[derive(Clone, Debug, Serialize)]
pub struct Launch {
    /// The request that caused it.
    pub request: u64,
    pub provider: Provider,
    pub kind: LaunchKind,
    pub session: String,
    pub run: Option<String>,
    /// Name of the key.
    pub key: String,
    /// The id that the client asked for, whether it was used or not.
    pub agent_id: Option<String>,
    pub marker: Option<String>,
    /// The images beside the prompt, in order.
    pub images: Vec<ImageRecord>,
    /// The environment variables that the agent was given, by name.
    pub environment: Vec<VariableRecord>,
    pub at: Timestamp,
}

/// An environment variable as it was received, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VariableRecord {
    pub name: String,
    /// SHA-256 of the value, in hexadecimal.
    pub sha256: String,
}

impl VariableRecord {
    /// A variable with this value.
    pub fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            sha256: format!("{:x}", Sha256::digest(value)),
        }
    }

    /// The variables of a request's body.
    pub(crate) fn all_in(body: Option<&Value>) -> Vec<Self> {
        let variables = body.and_then(|body| body.get("envVars")?.as_object());
        let variables = variables.into_iter().flatten();
        variables
            .filter_map(|(name, value)| Some(Self::new(name, value.as_str()?)))
            .collect()
    }
}

/// An image as it was received, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageRecord {
    /// Where it is, if it was given by its URL.
    pub url: Option<String>,
    /// SHA-256 of the decoded content, in hexadecimal.
    pub sha256: Option<String>,
    /// Size of the decoded content; 0 for a URL.
    pub bytes: usize,
    pub mime_type: Option<String>,
    /// Width and height as they were given.
    pub dimension: Option<(u64, u64)>,
}

impl ImageRecord {
    /// The images of a request's body.
    pub(crate) fn all_in(body: Option<&Value>) -> Vec<Self> {
        let images = body.and_then(|body| body.pointer("/prompt/images")?.as_array());
        images.into_iter().flatten().map(Self::of).collect()
    }

    fn of(image: &Value) -> Self {
        let text = |name: &str| image.get(name)?.as_str().map(str::to_owned);
        let content = text("data").and_then(|data| BASE64.decode(data).ok());
        let pixels = |name: &str| image.get("dimension")?.get(name)?.as_u64();
        Self {
            url: text("url"),
            sha256: content
                .as_ref()
                .map(|content| format!("{:x}", Sha256::digest(content))),
            bytes: content.map_or(0, |content| content.len()),
            mime_type: text("mimeType"),
            dimension: pixels("width").zip(pixels("height")),
        }
    }
}

/// What was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchKind {
    Session,
    /// A follow-up.
    Message,
}

/// Which launches to count. `None` matches all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaunchFilter {
    pub provider: Option<Provider>,
    pub kind: Option<LaunchKind>,
    /// A marker that contains this text, e.g. the uid.
    pub marker: Option<String>,
    pub agent_id: Option<String>,
    pub session: Option<String>,
}

impl LaunchFilter {
    /// Launches whose marker contains `text`.
    pub fn marker(text: impl Into<String>) -> Self {
        Self {
            marker: Some(text.into()),
            ..Self::default()
        }
    }

    fn matches(&self, launch: &Launch) -> bool {
        self.provider.is_none_or(|only| only == launch.provider)
            && self.kind.is_none_or(|only| only == launch.kind)
            && self.marker.as_ref().is_none_or(|text| {
                launch
                    .marker
                    .as_ref()
                    .is_some_and(|marker| marker.contains(text))
            })
            && (self.agent_id.is_none() || self.agent_id == launch.agent_id)
            && self
                .session
                .as_ref()
                .is_none_or(|only| *only == launch.session)
    }
}

/// A session as the simulator knows it: the truth to compare a client's view with.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    pub provider: Provider,
    pub id: String,
    pub account: String,
    /// The provider's own status word of the newest run.
    pub status: String,
    /// Whether something is still running and paid for.
    pub active: bool,
    pub archived: bool,
    pub deleted: bool,
    pub repository: Option<String>,
    pub pull_request: Option<String>,
    /// The person that the session is attributed to, where the provider knows one (Firetiger with Inspect).
    pub on_behalf_of: Option<String>,
    pub created_at: Timestamp,
    /// Where it reports, where it was told to.
    pub webhook: Option<Webhook>,
    /// The prompts in order, with the ids of their runs.
    pub prompts: Vec<PromptView>,
}

/// One prompt of a session.
#[derive(Clone, Debug, Serialize)]
pub struct PromptView {
    pub run: Option<String>,
    pub text: String,
    pub status: String,
    /// When work on it began; `None`: it waits for the ones before it.
    pub begun_at: Option<Timestamp>,
    /// When that ended; `None`: it goes on.
    pub ended_at: Option<Timestamp>,
}

impl PromptView {
    pub(crate) fn new(
        run: Option<String>,
        text: String,
        status: String,
        timeline: &Timeline,
        (now, clock): (Moment, &Clock),
    ) -> Self {
        let begun = Some(timeline.begun).filter(|begun| *begun <= now);
        Self {
            run,
            text,
            status,
            begun_at: begun.map(|at| clock.timestamp(at)),
            ended_at: timeline.ended(now).map(|(at, _)| clock.timestamp(at)),
        }
    }
}

/// The log of one simulator. Requests are kept up to a limit, and how many were forgotten is told; launches are all kept.
#[derive(Debug)]
pub(crate) struct Log {
    requests: VecDeque<RequestRecord>,
    next: u64,
    limit: usize,
    launches: Vec<Launch>,
    on_connection: BTreeMap<u64, u64>,
}

impl Log {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            requests: VecDeque::new(),
            next: 0,
            limit,
            launches: Vec::new(),
            on_connection: BTreeMap::new(),
        }
    }

    /// Adds a record, and fills in its sequence and position on the connection.
    pub(crate) fn add(&mut self, mut record: RequestRecord) -> u64 {
        let sequence = self.next;
        self.next += 1;
        let position = self.on_connection.entry(record.connection).or_insert(0);
        record.sequence = sequence;
        record.position_on_connection = *position;
        *position += 1;
        self.requests.push_back(record);
        while self.requests.len() > self.limit {
            self.requests.pop_front();
        }
        sequence
    }

    pub(crate) fn amend(&mut self, sequence: u64, change: impl FnOnce(&mut RequestRecord)) {
        let first = self.requests.front().map_or(0, |record| record.sequence);
        let index = sequence
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.requests.get_mut(index)) {
            change(record);
        }
    }

    pub(crate) fn add_launch(&mut self, launch: Launch) {
        self.launches.push(launch);
    }

    pub(crate) fn connection_closed(&mut self, connection: u64) {
        self.on_connection.remove(&connection);
    }

    pub(crate) fn requests(&self) -> impl DoubleEndedIterator<Item = &RequestRecord> {
        self.requests.iter()
    }

    /// The number of the request that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// How many requests are no longer in the log.
    pub(crate) fn forgotten(&self) -> u64 {
        self.next - self.requests.len() as u64
    }

    pub(crate) fn launches(&self, filter: &LaunchFilter) -> Vec<Launch> {
        self.launches
            .iter()
            .filter(|launch| filter.matches(launch))
            .cloned()
            .collect()
    }
}
