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

use super::super::heartbeat::{Heartbeat, SILENCE};
use super::super::identity::ORIGINAL_UID;
use super::super::write::{Write, WriteError};
use super::candidate::{Candidate, Move, Observed, Role};
use super::lead::{Lead, Lost, Tenure};
use super::times::Times;

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

/// What an attempt to renew the Lease came to.
enum Renewal {
    Stored,
    /// The Lease was changed, and is known again as it is: decide anew.
    Outdated,
    Failed,
}

/// A process's part in an election.
pub struct Election {
    candidate: Candidate,
    api: Api<Lease>,
    name: String,
    tenure: watch::Sender<Tenure>,
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
        let (tenure, lead) = watch::channel(Tenure::Standby);
        let election = Self {
            candidate: Candidate {
                identity,
                original_uid,
                times,
            },
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            tenure,
        };
        (election, Lead::new(lead))
    }

    /// The longest time in which the election beats its heart.
    pub fn silence(&self) -> Duration {
        SILENCE.max(self.candidate.times.lease)
    }

    /// Takes part until `stop`, then releases the Lease at once.
    ///
    /// # Errors
    /// If the lead was lost. This process must not act any more; it should end, and be started again.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) -> Result<(), Lost> {
        let result = self.take_part(&stop, &heartbeat).await;
        heartbeat.end();
        result
    }

    async fn take_part(&self, stop: &CancellationToken, heartbeat: &Heartbeat) -> Result<(), Lost> {
        let mut observed = Observed {
            lease: None,
            since: Instant::now(),
        };
        let Some(renewed) = self.stand_by(&mut observed, stop, heartbeat).await? else {
            return Ok(());
        };
        let result = self.lead(&mut observed, renewed, stop, heartbeat).await;
        match &result {
            Ok(()) => self.release(&observed).await,
            Err(_) => {
                // Not a moment longer, whatever our clock would still allow.
                self.tenure.send_replace(Tenure::Until(Instant::now()));
            }
        }
        result
    }

    /// Stands by until this process leads; answers with when its first renewal was begun, or nothing if it stops.
    async fn stand_by(
        &self,
        observed: &mut Observed,
        stop: &CancellationToken,
        heartbeat: &Heartbeat,
    ) -> Result<Option<Instant>, Lost> {
        let only_this = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = watcher(self.api.clone(), only_this)
            .default_backoff()
            .boxed();
        let times = self.candidate.times;
        let mut watching = true;
        let mut fresh = false;
        loop {
            heartbeat.beat();
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
                            watching = note_change(observed, change);
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
        heartbeat: &Heartbeat,
    ) -> Result<(), Lost> {
        let times = self.candidate.times;
        let mut pause = times.retry;
        loop {
            heartbeat.beat();
            let deadline = renewed + times.renew_deadline;
            self.tenure.send_replace(Tenure::Until(deadline));
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
            // A renewal that is not answered by the deadline is given up, so that this process either leads without a gap or
            // ends. One that is answered in time counts from when it was begun.
            let renewal = tokio::time::timeout_at(deadline, self.renew(&wanted, observed));
            let answer = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                answer = renewal => answer,
            };
            pause = match answer {
                Ok(Renewal::Stored) => {
                    renewed = begun;
                    times.retry
                }
                Ok(Renewal::Outdated) => Duration::ZERO,
                Ok(Renewal::Failed) | Err(_) => times.retry,
            };
        }
    }

    /// Renews the Lease; if that fails, reads whose it is now, which decides whether there is anything left to renew.
    async fn renew(&self, wanted: &Move, observed: &mut Observed) -> Renewal {
        let error = match self.hold(wanted, observed).await {
            Ok(lease) => {
                observed.note(Some(lease), Instant::now());
                return Renewal::Stored;
            }
            Err(error) => error,
        };
        let known = self.read().await;
        let read = known.is_ok();
        if let Ok(lease) = known {
            observed.note(lease, Instant::now());
        }
        if let (RequestError::Stale, true) = (&error, read) {
            return Renewal::Outdated;
        }
        tracing::warn!(%error, "the Lease could not be renewed; it is tried again");
        Renewal::Failed
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
                let parameters = PostParams::default();
                match self.bounded(self.api.create(&parameters, &lease)).await? {
                    Ok(lease) => {
                        tracing::warn!("the Lease was deleted and has been made anew");
                        Ok(lease)
                    }
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

/// Takes note of what the watch of the Lease shows; answers with whether it works.
fn note_change(observed: &mut Observed, change: watcher::Result<Event<Lease>>) -> bool {
    match change {
        Ok(Event::Apply(lease) | Event::InitApply(lease)) => {
            observed.note(Some(lease), Instant::now());
        }
        Ok(Event::Delete(_)) => observed.note(None, Instant::now()),
        Ok(Event::Init | Event::InitDone) => {}
        Err(error) => {
            tracing::debug!(%error, "the watch of the Lease was interrupted");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::Method;
    use axum::{Json, Router};
    use kube::Config;
    use serde_json::Value;
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::client::bounded;
    use crate::runtime::heartbeat::Heartbeats;

    fn lease(holder: &str) -> Json<Value> {
        Json(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "operator", "uid": "uid", "resourceVersion": "1"},
            "spec": {"holderIdentity": holder},
        }))
    }

    /// An API server on which the first write of the Lease is answered, the second hangs, and the third is answered only after
    /// the deadline.
    async fn slow_to_renew() -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let writes = Arc::new(AtomicUsize::new(0));
        let router = Router::new().fallback(move |method: Method| {
            let write = match method {
                Method::PATCH => writes.fetch_add(1, Ordering::SeqCst) + 1,
                _ => 0,
            };
            async move {
                match write {
                    0 => lease(""),
                    1 => lease("us"),
                    2 => std::future::pending().await,
                    _ => {
                        tokio::time::sleep(Duration::from_millis(450)).await;
                        lease("us")
                    }
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        bounded(Config::new(format!("http://{address}").parse().unwrap())).unwrap()
    }

    /// A renewal that is not answered by the deadline ends the lead: it would come back after a gap in which others have
    /// given up what they were doing.
    #[tokio::test]
    async fn a_renewal_that_comes_in_late_does_not_revive_the_lead() {
        let times = Times {
            lease: Duration::from_millis(1500),
            renew_deadline: Duration::from_millis(1000),
            retry: Duration::from_millis(150),
        };
        let (election, lead) = Election::new(
            slow_to_renew().await,
            ("default", "operator"),
            "uid".to_owned(),
            "us".to_owned(),
            times,
        );
        let heartbeat = Heartbeats::default().begin("election", Duration::from_secs(60));
        let run = election.run(CancellationToken::new(), heartbeat);
        let ended = tokio::time::timeout(Duration::from_secs(10), run).await;
        assert!(matches!(ended, Ok(Err(Lost::NotRenewed(_)))), "{ended:?}");
        assert!(!lead.holds());
    }
}
