//! Which of several processes acts: leader election on a Lease, by the protocol of client-go.
//!
//! The holder renews the Lease again and again; whoever sees no change of it for as long as it was given takes it. Only
//! one's own monotonic clock counts: what another process writes as a time is for people. A holder that could not renew
//! stops acting before others may take over. One that stops in order empties the Lease, which those that stand by see at
//! once, because they watch it.
//!
//! A Lease decides who should act, and cannot keep a process that was stopped and continued from acting: whatever must
//! not happen twice needs a guard of its own.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, Event, watcher};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::identity::{ORIGINAL_UID, original_uid};
use super::write::{Write, WriteError};

/// The durations of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a Lease is valid that is not renewed. Default: 15 s. Whole seconds are written, rounded up.
    pub lease: Duration,
    /// How long a holder goes on acting that cannot renew. Default: 10 s.
    pub renew_deadline: Duration,
    /// How often the Lease is renewed, and how long after a failure it is tried again. Default: 2 s.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The durations of an election contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// Others would take over from a holder that still acts.
    #[error(
        "the renew deadline ({renew_deadline:?}) must be shorter than the lease duration ({lease:?})"
    )]
    Deadline {
        /// The deadline.
        renew_deadline: Duration,
        /// The duration.
        lease: Duration,
    },
    /// One failure would be the end.
    #[error(
        "the retry period ({retry:?}) must not be zero, and at most half of the renew deadline ({renew_deadline:?})"
    )]
    Retry {
        /// The period.
        retry: Duration,
        /// The deadline.
        renew_deadline: Duration,
    },
}

impl Times {
    /// Whether they fit together.
    ///
    /// # Errors
    /// If they do not.
    pub fn validate(&self) -> Result<(), TimesError> {
        let Self {
            lease,
            renew_deadline,
            retry,
        } = *self;
        if renew_deadline >= lease {
            return Err(TimesError::Deadline {
                renew_deadline,
                lease,
            });
        }
        if retry.is_zero() || retry * 2 > renew_deadline {
            return Err(TimesError::Retry {
                retry,
                renew_deadline,
            });
        }
        Ok(())
    }

    /// How long one request may take: an API server that hangs leaves time for a second one.
    fn request(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The duration as others read it.
    fn lease_seconds(&self) -> i32 {
        i32::try_from(self.lease.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
    }
}

/// Why a process must end: it may not act any more, and what it knows of itself may be out of date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another one leads.
    #[error("the lead was lost: {by} has taken over")]
    Taken {
        /// Its identity.
        by: String,
    },
    /// The Lease could not be renewed in time: another one may lead any moment.
    #[error("the lead was lost: the Lease could not be renewed for {0:?}")]
    NotRenewed(Duration),
    /// The Lease was deleted, and made anew by a process that did not know the first one.
    #[error(
        "the Lease was deleted and is another one now, and with it this installation has another id"
    )]
    Replaced,
}

/// Whether this process leads, by its own clock. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lead(watch::Receiver<Standing>);

#[derive(Clone, Copy, Debug)]
enum Standing {
    StandsBy,
    /// It leads until then, if it does not renew.
    Until(Instant),
    /// There is no election.
    Alone,
}

impl Lead {
    /// The lead of a process that shares it with nobody.
    pub fn alone() -> Self {
        Self(watch::channel(Standing::Alone).1)
    }

    /// Whether this process leads now.
    pub fn holds(&self) -> bool {
        match *self.0.borrow() {
            Standing::StandsBy => false,
            Standing::Until(end) => Instant::now() < end,
            Standing::Alone => true,
        }
    }

    /// How long this process leads if it does not renew; `None` if that has no end.
    pub fn left(&self) -> Option<Duration> {
        match *self.0.borrow() {
            Standing::StandsBy => Some(Duration::ZERO),
            Standing::Until(end) => Some(end.saturating_duration_since(Instant::now())),
            Standing::Alone => None,
        }
    }

    /// Waits until this process leads for the first time.
    pub async fn begun(&self) {
        let mut standing = self.0.clone();
        let begun = standing.wait_for(|standing| !matches!(standing, Standing::StandsBy));
        if begun.await.is_err() {
            // The election has ended before: nothing will begin.
            std::future::pending::<()>().await;
        }
    }
}

/// What is known of the Lease.
#[derive(Clone, Debug)]
struct Observed {
    /// `None`: it is not there.
    lease: Option<Lease>,
    /// Since when it has been as it is, by our clock.
    since: Instant,
}

impl Observed {
    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref().and_then(|lease| lease.spec.as_ref())
    }

    /// Who holds it; nobody, if it was released.
    fn holder(&self) -> Option<&str> {
        self.spec()
            .and_then(|spec| spec.holder_identity.as_deref())
            .filter(|holder| !holder.is_empty())
    }

    /// Takes note of the Lease as it is at `now`. Only another record is a sign of life, not another version: anybody may
    /// label a Lease.
    fn note(&mut self, lease: Option<Lease>, now: Instant) {
        let older = match (&lease, &self.lease) {
            (Some(new), Some(known)) => {
                new.metadata.uid == known.metadata.uid && version(new) < version(known)
            }
            (None, _) | (_, None) => false,
        };
        if older {
            // A watch lags behind what was read or written.
            return;
        }
        let record = |lease: &Option<Lease>| {
            lease
                .as_ref()
                .map(|lease| (lease.metadata.uid.clone(), lease.spec.clone()))
        };
        if record(&lease) != record(&self.lease) {
            self.since = now;
        }
        self.lease = lease;
    }
}

/// Versions of one object are numbers that grow.
fn version(lease: &Lease) -> Option<u64> {
    lease.metadata.resource_version.as_ref()?.parse().ok()
}

/// Whether we lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    StandsBy,
    /// The last renewal that was stored was begun then.
    Leads {
        renewed: Instant,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Move {
    /// Make the Lease anew, as its holder.
    Create,
    /// Become its holder.
    Take,
    /// Stay its holder.
    Renew,
    /// It is somebody else's for so long, unless it changes.
    Wait(Duration),
    /// End.
    StepDown(Lost),
}

/// Who we are in the election.
#[derive(Clone, Debug)]
struct Candidate {
    identity: String,
    /// The uid of the Lease that we know.
    original_uid: String,
    times: Times,
}

impl Candidate {
    /// What to do next.
    fn next(&self, role: Role, observed: &Observed, now: Instant) -> Move {
        if let Role::Leads { renewed } = role {
            let unrenewed = now.saturating_duration_since(renewed);
            if unrenewed >= self.times.renew_deadline {
                return Move::StepDown(Lost::NotRenewed(unrenewed));
            }
        }
        let Some(lease) = &observed.lease else {
            return match role {
                Role::Leads { .. } => Move::Create,
                // The leader makes it anew; if nobody does there is none.
                Role::StandsBy => match left(observed.since, self.times.lease, now) {
                    Some(left) => Move::Wait(left),
                    None => Move::Create,
                },
            };
        };
        if original_uid(lease) != self.original_uid {
            return Move::StepDown(Lost::Replaced);
        }
        match (observed.holder(), role) {
            (Some(holder), _) if holder == self.identity => Move::Renew,
            (None, _) => Move::Take,
            (Some(holder), Role::Leads { .. }) => Move::StepDown(Lost::Taken {
                by: holder.to_owned(),
            }),
            (Some(_), Role::StandsBy) => {
                // The holder says for how long it holds.
                let duration = observed
                    .spec()
                    .and_then(|spec| spec.lease_duration_seconds)
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.times.lease, Duration::from_secs);
                match left(observed.since, duration, now) {
                    Some(left) => Move::Wait(left),
                    None => Move::Take,
                }
            }
        }
    }

    /// The record of a holder.
    fn held(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let mut spec = before.cloned().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.lease_duration_seconds = Some(self.times.lease_seconds());
        spec.renew_time = Some(MicroTime(now));
        spec
    }
}

/// What is left of `duration` that began at `since`; nothing if it is over.
fn left(since: Instant, duration: Duration, now: Instant) -> Option<Duration> {
    duration
        .checked_sub(now.saturating_duration_since(since))
        .filter(|left| !left.is_zero())
}

/// Why a request did not bring what it should.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    /// The Lease has changed: read it again.
    #[error("the Lease has changed meanwhile")]
    Stale,
    /// It is not known whether it arrived.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// It could not be read or made.
    #[error("the API server refused")]
    Api(#[source] kube::Error),
    /// It could not be written.
    #[error(transparent)]
    Write(WriteError),
}

/// A process's part in an election.
pub struct Election {
    candidate: Candidate,
    api: Api<Lease>,
    name: String,
    standing: watch::Sender<Standing>,
}

impl Election {
    /// The part of the process `identity` in the election on the Lease `namespace/name`, which it knows by its
    /// [original uid](original_uid), and what it will know of its lead.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        original_uid: String,
        identity: String,
        times: Times,
    ) -> (Self, Lead) {
        let (standing, lead) = watch::channel(Standing::StandsBy);
        let election = Self {
            candidate: Candidate {
                identity,
                original_uid,
                times,
            },
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            standing,
        };
        (election, Lead(lead))
    }

    /// Takes part until `stop`, then releases the Lease at once.
    ///
    /// # Errors
    /// If the lead was lost. This process must not act any more; it should end, and be started again.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Lost> {
        let mut observed = Observed {
            lease: None,
            since: Instant::now(),
        };
        let Some(renewed) = self.stand_by(&mut observed, &stop).await? else {
            return Ok(());
        };
        let result = self.lead(&mut observed, renewed, &stop).await;
        match &result {
            Ok(()) => self.release(&observed).await,
            Err(_) => {
                // Not a moment longer, whatever our clock would still allow.
                self.standing.send_replace(Standing::Until(Instant::now()));
            }
        }
        result
    }

    /// Stands by until this process leads; answers with when its first renewal was begun, or nothing if it stops.
    async fn stand_by(
        &self,
        observed: &mut Observed,
        stop: &CancellationToken,
    ) -> Result<Option<Instant>, Lost> {
        let only_this = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = watcher(self.api.clone(), only_this)
            .default_backoff()
            .boxed();
        let times = self.candidate.times;
        let mut watching = true;
        let mut fresh = false;
        loop {
            if stop.is_cancelled() {
                return Ok(None);
            }
            if !fresh {
                match self.read().await {
                    Ok(lease) => observed.note(lease, Instant::now()),
                    Err(error) => {
                        tracing::warn!(%error, "the Lease cannot be read; it is tried again");
                        tokio::select! {
                            () = tokio::time::sleep(times.retry) => {}
                            () = stop.cancelled() => {}
                        }
                        continue;
                    }
                }
            }
            let begun = Instant::now();
            // After a write that failed, and now and then, the Lease is read instead of believing what is known.
            fresh = false;
            match self.candidate.next(Role::StandsBy, observed, begun) {
                Move::StepDown(lost) => return Err(lost),
                Move::Wait(left) => {
                    // The watch tells; reading is for the one that hangs, or is not permitted.
                    let poll = if watching {
                        times.lease / 3
                    } else {
                        times.retry
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(left.min(poll)) => {
                            // At the end of its time it is taken without reading it: the write is guarded.
                            fresh = left <= poll;
                        }
                        Some(change) = changes.next() => {
                            fresh = true;
                            watching = change.is_ok();
                            match change {
                                Ok(Event::Apply(lease) | Event::InitApply(lease)) => {
                                    observed.note(Some(lease), Instant::now());
                                }
                                Ok(Event::Delete(_)) => observed.note(None, Instant::now()),
                                Ok(Event::Init | Event::InitDone) => {}
                                Err(error) => tracing::debug!(%error, "the watch of the Lease was interrupted"),
                            }
                        }
                    }
                }
                wanted @ (Move::Create | Move::Take | Move::Renew) => {
                    match self.hold(&wanted, observed).await {
                        Ok(lease) => {
                            observed.note(Some(lease), Instant::now());
                            return Ok(Some(begun));
                        }
                        Err(RequestError::Stale) => {}
                        Err(error) => {
                            tracing::warn!(%error, "the Lease cannot be taken; it is tried again");
                            tokio::select! {
                                () = tokio::time::sleep(times.retry) => {}
                                () = stop.cancelled() => {}
                            }
                        }
                    }
                }
            }
        }
    }

    /// Leads until `stop`.
    async fn lead(
        &self,
        observed: &mut Observed,
        mut renewed: Instant,
        stop: &CancellationToken,
    ) -> Result<(), Lost> {
        let times = self.candidate.times;
        let mut pause = times.retry;
        loop {
            let deadline = renewed + times.renew_deadline;
            self.standing.send_replace(Standing::Until(deadline));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(deadline.min(Instant::now() + pause)) => {}
            }
            let begun = Instant::now();
            let wanted = match self
                .candidate
                .next(Role::Leads { renewed }, observed, begun)
            {
                Move::StepDown(lost) => return Err(lost),
                wanted => wanted,
            };
            let answer = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                answer = self.hold(&wanted, observed) => answer,
            };
            pause = match answer {
                Ok(lease) => {
                    observed.note(Some(lease), Instant::now());
                    renewed = begun;
                    times.retry
                }
                Err(error) => {
                    // Whose it is now decides whether there is anything left to renew.
                    let known = tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        known = self.read() => known,
                    };
                    match (error, known) {
                        (RequestError::Stale, Ok(lease)) => {
                            observed.note(lease, Instant::now());
                            Duration::ZERO
                        }
                        (error, known) => {
                            tracing::warn!(%error, "the Lease could not be renewed; it is tried again");
                            if let Ok(lease) = known {
                                observed.note(lease, Instant::now());
                            }
                            times.retry
                        }
                    }
                }
            };
        }
    }

    /// The Lease as it is now.
    async fn read(&self) -> Result<Option<Lease>, RequestError> {
        let answer = self.bounded(self.api.get_opt(&self.name)).await?;
        answer.map_err(RequestError::Api)
    }

    /// Writes ourselves into the Lease as its holder.
    async fn hold(&self, wanted: &Move, observed: &Observed) -> Result<Lease, RequestError> {
        let spec = self.candidate.held(observed.spec(), Timestamp::now());
        match (&observed.lease, wanted) {
            (Some(lease), Move::Take | Move::Renew) => {
                let write = Write::if_unchanged(lease).set(&["spec"], json!(spec));
                let stored = self.bounded(write.to_object(&self.api, &self.name)).await?;
                stored.map_err(|error| match error {
                    WriteError::Stale | WriteError::Gone => RequestError::Stale,
                    error => RequestError::Write(error),
                })
            }
            _ => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        annotations: Some(
                            [(ORIGINAL_UID.to_owned(), self.candidate.original_uid.clone())].into(),
                        ),
                        ..ObjectMeta::default()
                    },
                    spec: Some(spec),
                };
                tracing::warn!("the Lease was deleted and is made anew");
                let parameters = PostParams::default();
                match self.bounded(self.api.create(&parameters, &lease)).await? {
                    Ok(lease) => Ok(lease),
                    Err(kube::Error::Api(status)) if status.code == 409 => Err(RequestError::Stale),
                    Err(error) => Err(RequestError::Api(error)),
                }
            }
        }
    }

    /// Empties the Lease, so that others need not wait.
    async fn release(&self, observed: &Observed) {
        let Some(lease) = &observed.lease else {
            return;
        };
        let now = json!(MicroTime(Timestamp::now()));
        let write = Write::if_same(lease)
            .and_if(&["spec", "holderIdentity"], json!(self.candidate.identity))
            .set(&["spec", "holderIdentity"], json!(""))
            .set(&["spec", "leaseDurationSeconds"], json!(1))
            .set(&["spec", "acquireTime"], now.clone())
            .set(&["spec", "renewTime"], now);
        let released = self
            .bounded(write.to_object::<Lease>(&self.api, &self.name))
            .await;
        match released {
            Ok(Ok(_)) => tracing::info!("the lead is released"),
            Ok(Err(WriteError::Stale | WriteError::Gone)) => {
                tracing::info!("the lead is somebody else's already");
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lead could not be released: others wait for its end");
            }
            Err(error) => {
                tracing::warn!(%error, "the lead could not be released: others wait for its end");
            }
        }
    }

    async fn bounded<T>(&self, request: impl Future<Output = T>) -> Result<T, RequestError> {
        let bound = self.candidate.times.request();
        tokio::time::timeout(bound, request)
            .await
            .map_err(|_| RequestError::Timeout(bound))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    const US: &str = "pod-a_1";
    const OTHER: &str = "pod-b_2";
    const UID: &str = "0a1b2c3d-0000-4000-8000-000000000000";

    fn candidate() -> Candidate {
        Candidate {
            identity: US.to_owned(),
            original_uid: UID.to_owned(),
            times: Times::default(),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A Lease held by `holder` for 15 s, in its `version`, renewed at `renewed` by the holder's clock.
    fn lease(holder: Option<&str>, version: u32, renewed: i64) -> Lease {
        Lease {
            metadata: ObjectMeta {
                uid: Some(UID.to_owned()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            spec: holder.map(|holder| LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(3),
                acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    fn seen(lease: Option<Lease>, since: Instant) -> Observed {
        Observed { lease, since }
    }

    /// Who stands by takes what nobody holds at once, and what somebody holds only after it has not changed for as long as
    /// the holder said.
    #[test]
    fn who_stands_by() {
        let start = Instant::now();
        let short = {
            let mut short = lease(Some(OTHER), 1, 0);
            short.spec.as_mut().unwrap().lease_duration_seconds = Some(3);
            short
        };
        let table = [
            ("never held", Some(lease(None, 1, 0)), 0, Move::Take),
            ("released", Some(lease(Some(""), 1, 0)), 0, Move::Take),
            (
                "just seen",
                Some(lease(Some(OTHER), 1, 0)),
                0,
                Move::Wait(seconds(15)),
            ),
            (
                "unchanged for 14 s",
                Some(lease(Some(OTHER), 1, 0)),
                14,
                Move::Wait(seconds(1)),
            ),
            (
                "unchanged for 15 s",
                Some(lease(Some(OTHER), 1, 0)),
                15,
                Move::Take,
            ),
            (
                "the holder said 3 s",
                Some(short.clone()),
                2,
                Move::Wait(seconds(1)),
            ),
            ("the holder said 3 s, over", Some(short), 3, Move::Take),
            // The answer to our own write was lost.
            ("ours", Some(lease(Some(US), 1, 0)), 0, Move::Renew),
            // The leader makes it anew.
            ("deleted", None, 0, Move::Wait(seconds(15))),
            ("deleted, and nobody leads", None, 15, Move::Create),
        ];
        for (what, lease, after, expected) in table {
            let observed = seen(lease, start);
            let decided = candidate().next(Role::StandsBy, &observed, start + seconds(after));
            assert_eq!(decided, expected, "{what}");
        }
    }

    #[test]
    fn who_leads() {
        let start = Instant::now();
        let leads = Role::Leads { renewed: start };
        let ours = || Some(lease(Some(US), 1, 0));
        let lost = |lost| Move::StepDown(lost);
        let table = [
            ("ours", ours(), 2, Move::Renew),
            ("ours, the deadline not quite over", ours(), 9, Move::Renew),
            // Even if nobody has taken it: we were told to act no longer than this.
            (
                "ours, the deadline over",
                ours(),
                10,
                lost(Lost::NotRenewed(seconds(10))),
            ),
            (
                "somebody else's",
                Some(lease(Some(OTHER), 2, 0)),
                2,
                lost(Lost::Taken {
                    by: OTHER.to_owned(),
                }),
            ),
            (
                "emptied by hand",
                Some(lease(Some(""), 2, 0)),
                2,
                Move::Take,
            ),
            ("deleted", None, 2, Move::Create),
            (
                "deleted, the deadline over",
                None,
                11,
                lost(Lost::NotRenewed(seconds(11))),
            ),
        ];
        for (what, lease, after, expected) in table {
            let observed = seen(lease, start);
            let decided = candidate().next(leads, &observed, start + seconds(after));
            assert_eq!(decided, expected, "{what}");
        }
    }

    /// A Lease made anew by one that knew the first is the same; one made by somebody who did not is another, and so is
    /// the installation: everybody starts anew.
    #[test]
    fn a_lease_made_anew() {
        let start = Instant::now();
        let made_anew = |annotations: Option<&str>| {
            let mut anew = lease(Some(OTHER), 9, 0);
            anew.metadata.uid = Some("another".to_owned());
            anew.metadata.annotations =
                annotations.map(|original| [(ORIGINAL_UID.to_owned(), original.to_owned())].into());
            seen(Some(anew), start)
        };
        let decide = |role, observed: &Observed| candidate().next(role, observed, start);
        let leads = Role::Leads { renewed: start };
        for role in [Role::StandsBy, leads] {
            assert_eq!(
                decide(role, &made_anew(None)),
                Move::StepDown(Lost::Replaced)
            );
            assert_eq!(
                decide(role, &made_anew(Some("a third"))),
                Move::StepDown(Lost::Replaced)
            );
        }
        assert_eq!(
            decide(Role::StandsBy, &made_anew(Some(UID))),
            Move::Wait(seconds(15))
        );
    }

    /// Only the record is a sign of life, whatever it says about the time; and what lags behind is not news.
    #[test]
    fn what_counts_as_a_change() {
        let start = Instant::now();
        let later = start + seconds(5);
        let known = || seen(Some(lease(Some(OTHER), 5, 1000)), start);
        let since = |new| {
            let mut observed = known();
            observed.note(new, later);
            observed.since
        };
        let mut labelled = lease(Some(OTHER), 6, 1000);
        labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(since(Some(lease(Some(OTHER), 5, 1000))), start, "the same");
        assert_eq!(since(Some(labelled)), start, "labelled");
        assert_eq!(since(Some(lease(Some(OTHER), 6, 1002))), later, "renewed");
        assert_eq!(
            since(Some(lease(Some(OTHER), 6, 10))),
            later,
            "renewed by a clock that was set back"
        );
        assert_eq!(since(Some(lease(Some(US), 4, 990))), start, "older");
        assert_eq!(since(None), later, "deleted");
        let mut observed = known();
        observed.note(Some(lease(Some(US), 4, 990)), later);
        assert_eq!(observed.holder(), Some(OTHER));
    }

    #[test]
    fn what_a_holder_writes() {
        let now = Timestamp::from_second(5000).unwrap();
        let taken = candidate().held(lease(Some(OTHER), 1, 10).spec.as_ref(), now);
        assert_eq!(taken.holder_identity.as_deref(), Some(US));
        assert_eq!(taken.lease_duration_seconds, Some(15));
        assert_eq!(taken.lease_transitions, Some(4));
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));
        assert_eq!(taken.renew_time, Some(MicroTime(now)));
        let later = Timestamp::from_second(5002).unwrap();
        let renewed = candidate().held(Some(&taken), later);
        assert_eq!(renewed.lease_transitions, Some(4));
        assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
        assert_eq!(renewed.renew_time, Some(MicroTime(later)));
    }

    #[test]
    fn durations_that_contradict_each_other() {
        let times = |lease, deadline, retry| Times {
            lease: Duration::from_millis(lease),
            renew_deadline: Duration::from_millis(deadline),
            retry: Duration::from_millis(retry),
        };
        assert_eq!(Times::default().validate(), Ok(()));
        assert_eq!(times(3000, 2000, 500).validate(), Ok(()));
        for wrong in [
            times(10_000, 10_000, 2000),
            times(15_000, 10_000, 6000),
            times(15_000, 10_000, 0),
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
        assert_eq!(times(2500, 2000, 500).lease_seconds(), 3);
    }

    #[test]
    fn a_lead_ends_by_the_own_clock() {
        assert!(Lead::alone().holds());
        assert_eq!(Lead::alone().left(), None);
        let (standing, lead) = watch::channel(Standing::StandsBy);
        let lead = Lead(lead);
        assert!(!lead.holds());
        standing.send_replace(Standing::Until(Instant::now() + seconds(60)));
        assert!(lead.holds());
        assert!(lead.left() > Some(seconds(50)));
        standing.send_replace(Standing::Until(Instant::now()));
        assert!(!lead.holds());
        assert_eq!(lead.left(), Some(Duration::ZERO));
    }
}
