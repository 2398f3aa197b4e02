//! Taking part: watching, taking, renewing and releasing the Lease.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
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

use super::super::identity::ORIGINAL_UID;
use super::super::write::{Write, WriteError};
use super::candidate::{Candidate, Move, Observed, Role};
use super::{Lead, Lost, Standing, Times};

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
    /// [original uid](super::super::identity::original_uid), and what it will know of its lead.
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
