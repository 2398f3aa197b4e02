//! What the agent of a session does, event by event.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::domain::ids::{RunId, SessionId};
use crate::domain::remote::ProviderError;
use crate::domain::timeline::{Event, Position};

/// Reads the timeline of a session from the provider's record. Reads only; nothing of an event's content is logged.
///
/// Events are numbered as [`timeline`](crate::domain::timeline) says: the same event has the same number whoever reads it. No event shows
/// anything of the credential.
#[async_trait]
pub trait Timeline: Send + Sync {
    /// The events after `request.since`, oldest first, at most `limit` of them (1 to [`MAX_PAGE`](crate::domain::timeline::MAX_PAGE); more is
    /// as much as that). Does not wait for what has not happened yet, but where the provider only streams it may take some
    /// seconds to learn that nothing more is there.
    ///
    /// What cannot be read is a [`Gap`](crate::domain::timeline::EventType::Gap) or an
    /// [`Error`](crate::domain::timeline::EventType::Error) event, and the reading goes on behind it.
    ///
    /// # Errors
    /// If the provider cannot be read now. Nothing is lost by asking again.
    async fn page(
        &self,
        request: &TimelineRequest,
        limit: usize,
    ) -> Result<TimelinePage, ProviderError>;
}

/// Tells the events of a session while they happen.
pub trait TimelineStream: Send + Sync {
    /// The events after `request.since`, as they happen, numbered as [`Timeline::page`] numbers them.
    ///
    /// It connects again by itself, with growing pauses, and ends once every run of `request` has ended and everything of it was told. An error is its
    /// last item: it could not connect for a while, or is not allowed to. Whoever goes on asks anew, with the last number that it was told
    /// as `since`. Nothing is read ahead: what is not taken from the stream waits at the provider.
    fn follow<'a>(
        &'a self,
        request: TimelineRequest,
    ) -> BoxStream<'a, Result<Event, ProviderError>>;
}

/// Which part of which session's timeline is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineRequest {
    /// What the operator knows of the executions of the session's messages that the provider has, oldest first.
    pub runs: Vec<MessageRun>,
    /// The number of the last event that is not wanted: 0 for all of them.
    pub since: u64,
    /// Where an earlier reading stood, if it is known: it spares reading the part before it again.
    pub from: Option<Position>,
}

/// The execution of one message at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRun {
    /// The message's name in `status.messages`.
    pub message: String,
    /// The provider's session that works on it.
    pub session_id: SessionId,
    /// The run, where the provider has runs and it is known.
    pub run_id: Option<RunId>,
    /// Whether it is known to have ended.
    pub ended: bool,
}

/// One page of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelinePage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// What comes after them.
    pub next: NextPage,
    /// Where this reading stood in the end, for the next one's [`TimelineRequest::from`].
    pub position: Position,
}

impl TimelineRequest {
    /// The request to send if `page`, the answer to this one, ends before what is asked for: the reader may have its number from a replica that
    /// did not know how long the records are that are gone by now, and only without that knowledge are numbers the same.
    pub fn without_lengths(&self, page: &TimelinePage) -> Option<Self> {
        let lengths = self
            .from
            .as_ref()
            .is_some_and(|from| !from.closed.is_empty());
        let beyond = page.events.is_empty() && page.position.seq() < self.since;
        (lengths && beyond).then(|| Self {
            from: None,
            ..self.clone()
        })
    }
}

/// What comes after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextPage {
    /// There may be more at once.
    Now,
    /// Nothing more has happened yet.
    Later,
    /// Nothing more will come, unless the session is sent a further message: every run has ended and everything was told.
    Never,
}
