//! One reading of a session at its provider, for all who follow it: a stream where the provider has one, else page after page.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::access::Subresource;
use super::answer::{Refusal, RefusalReason};
use super::ring::{End, Line, Ring};
use super::source::{KEEP_PAGE, Source, Sources, refusal_of};
use crate::api::CodeSession;
use crate::domain::requeue::jittered;
use crate::domain::session::next_message;
use crate::domain::timing::Timing;
use crate::providers::contract::NextPage;

/// How often a provider that says that more may come is asked after the session has ended.
const LOOKS_AFTER_END: u32 = 10;
/// Pages that are read of a session whose object is gone.
const MOST_LAST_PAGES: usize = 20;
/// How many of the longest waits after a fault are spent on a provider, or an API server, that does not answer.
const PATIENCE: u32 = 5;

/// Which session is read.
pub struct Followed {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: one of the same name that comes later is another session.
    pub uid: String,
}

/// Reads until the session has ended, or cannot be read for a while, and keeps in `ring` what it is told. Dropping it stops reading.
pub async fn run(sources: &Sources, followed: &Followed, ring: &Ring, timing: &Timing) {
    let mut reading = Reading {
        sources,
        followed,
        ring,
        timing,
        idle: 0,
        faults: 0,
        failing_since: None,
        looks_after_end: 0,
        last: None,
    };
    let end = loop {
        match reading.round().await {
            Ok(Some(end)) => break end,
            Ok(None) => {
                reading.faults = 0;
                reading.failing_since = None;
            }
            Err(refusal) => {
                if refusal.reason == RefusalReason::NotFound {
                    reading.read_rest().await;
                }
                if let Some(end) = reading.fault(refusal).await {
                    break end;
                }
            }
        }
    };
    ring.end(end);
}

struct Reading<'a> {
    sources: &'a Sources,
    followed: &'a Followed,
    ring: &'a Ring,
    timing: &'a Timing,
    /// Rounds in a row that brought nothing.
    idle: u32,
    /// Failures in a row.
    faults: i32,
    failing_since: Option<Instant>,
    looks_after_end: u32,
    /// The way to the timeline that was read last.
    last: Option<Source>,
}

impl Reading<'_> {
    /// Reads what there is and waits until there may be more; why nothing more comes, once that is so.
    async fn round(&mut self) -> Result<Option<End>, Refusal> {
        let session = self.session().await?;
        let source = self.sources.open(session, Subresource::Events).await?;
        self.last = Some(source.clone());
        let over = is_over(&source.session);
        let before = self.ring.newest();
        let streams = source.provider().timeline_stream().is_some() && !over;
        let next = if streams {
            self.stream(&source).await?
        } else {
            self.page(&source).await?
        };
        let next = match next {
            NextPage::Now => return Ok(None),
            NextPage::Later | NextPage::Never if self.ring.newest() > before => {
                self.idle = 0;
                next
            }
            NextPage::Later | NextPage::Never => {
                self.idle = self.idle.saturating_add(1);
                next
            }
        };
        if over {
            self.looks_after_end += 1;
            if next == NextPage::Never || self.looks_after_end > LOOKS_AFTER_END {
                return Ok(Some(End::Complete));
            }
        } else {
            self.looks_after_end = 0;
        }
        tokio::time::sleep(jittered(self.pause(), rand::random())).await;
        Ok(None)
    }

    /// The session, as long as it is the one that is followed.
    async fn session(&self) -> Result<Arc<CodeSession>, Refusal> {
        let Followed {
            namespace,
            name,
            uid,
        } = self.followed;
        let session = self.sources.session(namespace, name).await?;
        if session.metadata.uid.as_deref() == Some(uid) {
            return Ok(session);
        }
        Err(deleted(name))
    }

    /// Reads what has happened since the last look at a session whose object is gone: a deletion stops the session first, and its followers
    /// are told so.
    async fn read_rest(&self) {
        let Some(source) = &self.last else { return };
        // A page that was read before the end counts no longer.
        tokio::time::sleep(KEEP_PAGE).await;
        for _ in 0..MOST_LAST_PAGES {
            if !matches!(self.page(source).await, Ok(NextPage::Now)) {
                break;
            }
        }
    }

    async fn page(&self, source: &Source) -> Result<NextPage, Refusal> {
        let page = self.sources.page(source, self.ring.newest()).await?;
        for event in &page.events {
            self.ring.push(Line::of(event)).await;
        }
        Ok(page.next)
    }

    /// Reads a stream to its end, for as long as the session is there.
    async fn stream(&mut self, source: &Source) -> Result<NextPage, Refusal> {
        let provider = Arc::clone(source.provider());
        let Some(stream) = provider.timeline_stream() else {
            return Ok(NextPage::Later);
        };
        let mut events = stream.follow(self.sources.request(source, self.ring.newest()));
        let mut look = tokio::time::interval(self.timing.poll_min.max(Duration::from_millis(100)));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        self.ring.push(Line::of(&event)).await;
                        self.faults = 0;
                        self.failing_since = None;
                    }
                    Some(Err(error)) => return Err(refusal_of(&error, Subresource::Events).about(&self.followed.name)),
                    // Every run that was known has ended.
                    None => return Ok(NextPage::Never),
                },
                _ = look.tick() => {
                    self.session().await?;
                }
            }
        }
    }

    /// Between two looks: longer and longer while nothing happens.
    fn pause(&self) -> Duration {
        let doublings = self.idle.saturating_sub(1).min(8);
        let pause = self.timing.poll_min.saturating_mul(1 << doublings);
        pause.min(self.timing.poll_max.max(self.timing.poll_min))
    }

    /// Waits after a failure; why nothing more comes, if it does not pass.
    async fn fault(&mut self, refusal: Refusal) -> Option<End> {
        let passes = match refusal.reason {
            RefusalReason::ServiceUnavailable
            | RefusalReason::Timeout
            | RefusalReason::TooManyRequests => true,
            RefusalReason::BadRequest
            | RefusalReason::Unauthorized
            | RefusalReason::Forbidden
            | RefusalReason::NotFound
            | RefusalReason::MethodNotAllowed
            | RefusalReason::Expired => false,
        };
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let patience = self.timing.fault_wait_max.saturating_mul(PATIENCE);
        if !passes || since.elapsed() >= patience {
            return Some(End::Refused(refusal));
        }
        self.faults = self.faults.saturating_add(1);
        let wait = self.timing.fault_wait(self.faults);
        let asked = refusal.retry_after.unwrap_or_default();
        tokio::time::sleep(jittered(wait, rand::random()).max(asked.min(patience))).await;
        None
    }
}

/// Whether nothing more is done for the session unless somebody asks for it.
fn is_over(session: &CodeSession) -> bool {
    let status = session.stored_status();
    session.phase().is_terminal() && next_message(&session.spec, status).is_none()
}

fn deleted(name: &str) -> Refusal {
    let message =
        format!("the CodeSession {name} was deleted; its timeline is not served any more");
    Refusal::new(RefusalReason::NotFound, message).about(name)
}
