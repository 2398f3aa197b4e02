//! Following a session: any number of readers, one reading at its provider.
//!
//! The reading begins where the first follower wants to begin, keeps what it is told in the [`Ring`] of its session, and stops with the
//! last follower. Who wants to begin earlier than the ring reads page after page until it meets the ring.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::access::{Access, Target, User};
use super::answer::{Refusal, RefusalReason};
use super::ring::{End, Line, Next, Ring};
use super::source::{Source, Sources};
use super::upstream::{self, Followed};
use crate::controllers::Context;
use crate::controllers::metrics::Metrics;
use crate::providers::contract::TimelinePage;
use crate::runtime::lock::lock;

/// Lines that wait for the connection of one follower; what it does not take beyond them waits in the ring.
const LINES: usize = 8;
/// How often an empty line is sent where nothing else is: a connection whose other end is gone is noticed only by writing.
const BEAT: Duration = Duration::from_secs(30);
/// How often it is asked whether the follower still may. Shorter than a beat, so that each beat finds it due.
const REVIEW: Duration = Duration::from_secs(25);
/// How long a follower stays when the API server does not say whether it still may.
const UNREVIEWED: Duration = Duration::from_secs(120);
/// The longest that one request follows.
const LONGEST: Duration = Duration::from_secs(3600);
/// How often a follower that has caught up and finds that the ring has moved on catches up again.
const MOST_CATCH_UPS: usize = 20;

/// How many may follow.
#[derive(Clone, Copy, Debug)]
pub struct FollowerLimits {
    /// One session.
    pub per_session: usize,
    /// All sessions together.
    pub in_all: usize,
}

/// The sessions that are followed.
pub struct Hub {
    context: Context,
    sources: Arc<Sources>,
    access: Arc<Access>,
    limits: FollowerLimits,
    in_all: Arc<AtomicUsize>,
    /// By uid.
    sessions: Mutex<HashMap<String, SharedSession>>,
}

#[derive(Default)]
struct SharedSession {
    followers: Arc<AtomicUsize>,
    reading: Weak<SharedReading>,
}

/// The reading of one session, for as long as somebody holds it.
struct SharedReading {
    ring: Arc<Ring>,
    _stop: DropGuard,
}

/// A place among the followers. Dropping it gives the place back.
pub struct Place {
    counted: [Arc<AtomicUsize>; 2],
    metrics: Metrics,
}

impl Drop for Place {
    fn drop(&mut self) {
        for counter in &self.counted {
            counter.fetch_sub(1, Ordering::AcqRel);
        }
        self.metrics.follower_left();
    }
}

/// Who follows what.
pub struct Follower {
    /// Who.
    pub user: Arc<User>,
    /// With which token: it is checked again while events are told.
    pub token: Zeroizing<String>,
    /// The session.
    pub target: Target,
    /// Only events of this message.
    pub message: Option<String>,
    /// The way to the session's timeline.
    pub source: Source,
    /// The first page, read already, so that what can be refused is refused before anything is told; `None` where the provider streams,
    /// since reading a page takes until nothing comes for a while.
    pub first: Option<Arc<TimelinePage>>,
    /// The number of the last event that is not wanted.
    pub since: u64,
}

impl Hub {
    /// Nobody follows yet.
    pub fn new(
        context: Context,
        sources: Arc<Sources>,
        access: Arc<Access>,
        limits: FollowerLimits,
    ) -> Self {
        Self {
            context,
            sources,
            access,
            limits,
            in_all: Arc::default(),
            sessions: Mutex::default(),
        }
    }

    /// A place among the followers of the session.
    ///
    /// # Errors
    /// 429 if there is none.
    pub fn enter(&self, uid: &str) -> Result<Place, Refusal> {
        let of_session = {
            let mut sessions = lock(&self.sessions);
            sessions.retain(|_, session| {
                Arc::strong_count(&session.followers) > 1 || session.reading.strong_count() > 0
            });
            Arc::clone(&sessions.entry(uid.to_owned()).or_default().followers)
        };
        let take = |counter: &AtomicUsize, most: usize| {
            counter
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                    (taken < most).then_some(taken + 1)
                })
                .is_ok()
        };
        let full = |whom: &str, most: usize, option: &str| {
            Refusal::new(
                RefusalReason::TooManyRequests,
                format!("{most} already follow {whom}, and there may be no more ({option}): try again later, or read without follow=true"),
            )
            .retry_after(Duration::from_secs(10))
        };
        let FollowerLimits {
            per_session,
            in_all,
        } = self.limits;
        if !take(&of_session, per_session) {
            let option = "--timeline-followers-per-session";
            return Err(full("this session", per_session, option));
        }
        if !take(&self.in_all, in_all) {
            of_session.fetch_sub(1, Ordering::AcqRel);
            return Err(full("a session here", in_all, "--timeline-followers"));
        }
        self.context.metrics.follower_came();
        Ok(Place {
            counted: [of_session, Arc::clone(&self.in_all)],
            metrics: self.context.metrics.clone(),
        })
    }

    /// The lines that a follower is told, until the last one, which says why nothing more comes.
    pub fn follow(self: &Arc<Self>, follower: Follower, place: Place) -> mpsc::Receiver<Bytes> {
        let (lines, receiver) = mpsc::channel(LINES);
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            let mut telling = Telling {
                since: follower.since,
                told: 0,
                asked: Instant::now(),
                allowed: Instant::now(),
                lines,
                hub: &hub,
                follower: &follower,
            };
            let end = telling.run().await;
            let outcome = telling.tell_end(end).await;
            drop(place);
            let Target {
                namespace, name, ..
            } = &follower.target;
            tracing::info!(
                user = ?follower.user.name(), %namespace, %name, subresource = "events", outcome,
                told = telling.told, last_seq = telling.since, "a timeline is not followed any more"
            );
        });
        receiver
    }

    /// The reading of the session behind `source`; begins behind the event `since` if there is none.
    fn reading(self: &Arc<Self>, source: &Source, since: u64) -> Arc<SharedReading> {
        let session = &source.session;
        let followed = Followed {
            namespace: session.namespace().unwrap_or_default(),
            name: session.name_any(),
            uid: session.uid().unwrap_or_default(),
        };
        let mut sessions = lock(&self.sessions);
        let shared = sessions.entry(followed.uid.clone()).or_default();
        if let Some(reading) = shared.reading.upgrade()
            && !reading.ring.is_over()
        {
            return reading;
        }
        let ring = Arc::new(Ring::new(since));
        let stop = CancellationToken::new();
        let reading = Arc::new(SharedReading {
            ring: Arc::clone(&ring),
            _stop: stop.clone().drop_guard(),
        });
        shared.reading = Arc::downgrade(&reading);
        drop(sessions);
        let (sources, context) = (Arc::clone(&self.sources), self.context.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = upstream::run(&sources, &followed, &ring, context.timing()) => {}
                () = stop.cancelled() => {}
            }
        });
        reading
    }
}

/// Why a follower is told nothing more.
enum Over {
    /// Nothing more comes.
    End(End),
    /// Its connection is gone.
    Left,
}

/// What one follower is told.
struct Telling<'a> {
    hub: &'a Arc<Hub>,
    follower: &'a Follower,
    lines: mpsc::Sender<Bytes>,
    /// The number of the last event that was told, or passed over as one of another message.
    since: u64,
    /// Events that were told.
    told: u64,
    /// When it was last asked whether the follower may read.
    asked: Instant,
    /// When that was last answered with yes.
    allowed: Instant,
}

impl Telling<'_> {
    /// Tells everything until nothing more comes.
    async fn run(&mut self) -> Over {
        let stop = self.hub.context.stop.clone();
        let told = async {
            match self.catch_up_and_follow().await {
                Ok(over) | Err(over) => over,
            }
        };
        tokio::select! {
            over = told => over,
            () = stop.cancelled() => ended(RefusalReason::ServiceUnavailable, "the operator stops"),
            () = tokio::time::sleep(LONGEST) => {
                ended(RefusalReason::Expired, "one request follows for an hour at most")
            }
        }
    }

    /// `Err` ends it as `Ok` does, early.
    async fn catch_up_and_follow(&mut self) -> Result<Over, Over> {
        if let Some(first) = self.follower.first.clone() {
            self.tell_page(&first).await?;
        }
        for _ in 0..MOST_CATCH_UPS {
            let reading = self.hub.reading(&self.follower.source, self.since);
            match reading.ring.behind(self.since, 1) {
                Next::TooOld => self.catch_up(&reading.ring).await?,
                Next::Lines(_) | Next::Wait | Next::End(_) => {
                    return self.tell_ring(&reading.ring).await;
                }
            }
        }
        Ok(too_slow())
    }

    /// Tells page after page, up to where the ring begins.
    async fn catch_up(&mut self, ring: &Ring) -> Result<(), Over> {
        while matches!(ring.behind(self.since, 1), Next::TooOld) {
            let page = self.page().await?;
            self.tell_page(&page).await?;
            if page.events.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn tell_page(&mut self, page: &TimelinePage) -> Result<(), Over> {
        for event in &page.events {
            self.tell(&Line::of(event)).await?;
        }
        Ok(())
    }

    async fn page(&self) -> Result<Arc<TimelinePage>, Over> {
        let (sources, source) = (&self.hub.sources, &self.follower.source);
        let page = sources.page(source, self.since).await;
        page.map_err(|refusal| Over::End(End::Refused(refusal)))
    }

    /// Tells what comes into the ring.
    async fn tell_ring(&mut self, ring: &Ring) -> Result<Over, Over> {
        let mut changes = ring.subscribe();
        let mut beat = tokio::time::interval_at(Instant::now() + BEAT, BEAT);
        loop {
            match ring.behind(self.since, LINES) {
                Next::Lines(lines) => {
                    for line in &lines {
                        self.tell(line).await?;
                    }
                    continue;
                }
                Next::TooOld => return Ok(too_slow()),
                Next::End(end) => return Ok(Over::End(end)),
                Next::Wait => {}
            }
            tokio::select! {
                // The ring, and with it the sender, is there for as long as its reading is held.
                _ = changes.changed() => {}
                () = self.lines.closed() => return Ok(Over::Left),
                _ = beat.tick() => {
                    self.send(Bytes::from_static(b"\n")).await?;
                    self.still_may().await?;
                }
            }
        }
    }

    /// Asks again, every [`REVIEW`], whether the follower may: a right that is taken away ends what was begun with it, also for who reads
    /// so slowly that it never comes to what is new.
    async fn still_may(&mut self) -> Result<(), Over> {
        if self.asked.elapsed() < REVIEW {
            return Ok(());
        }
        self.asked = Instant::now();
        let Follower { token, target, .. } = self.follower;
        match self.hub.access.authorize_again(token, target).await {
            Ok(()) => self.allowed = Instant::now(),
            Err(refusal) => {
                let unreviewed = refusal.reason == RefusalReason::ServiceUnavailable;
                if !unreviewed || self.allowed.elapsed() > UNREVIEWED {
                    return Err(Over::End(End::Refused(refusal)));
                }
            }
        }
        Ok(())
    }

    async fn tell(&mut self, line: &Line) -> Result<(), Over> {
        self.still_may().await?;
        if line.is_of(self.follower.message.as_deref()) {
            self.send(line.bytes.clone()).await?;
            self.told += 1;
        }
        self.since = self.since.max(line.seq);
        Ok(())
    }

    async fn send(&self, line: Bytes) -> Result<(), Over> {
        self.lines.send(line).await.map_err(|_| Over::Left)
    }

    /// The last line; answers with a word for the log.
    async fn tell_end(&self, over: Over) -> &'static str {
        let since = self.since;
        let (status, outcome) = match over {
            Over::Left => return "Left",
            Over::End(End::Complete) => {
                let status = Status {
                    status: Some("Success".to_owned()),
                    message: Some(format!(
                        "the session has ended, and this was all of it; the last event is {since}"
                    )),
                    ..Status::default()
                };
                (status, "Complete")
            }
            Over::End(End::Refused(mut refusal)) => {
                refusal.message = format!("{}; go on with since={since}", refusal.message);
                (refusal.status(), refusal.reason.as_str())
            }
        };
        let mut line = serde_json::to_string(&status).unwrap_or_default();
        line.push('\n');
        // Whoever does not take it within a minute is cut off by the connection.
        let _ = self.lines.send(line.into()).await;
        outcome
    }
}

fn ended(reason: RefusalReason, message: &str) -> Over {
    Over::End(End::Refused(Refusal::new(reason, message)))
}

fn too_slow() -> Over {
    ended(
        RefusalReason::Expired,
        "you read more slowly than the agent works, and the operator does not keep what you have not taken",
    )
}
