//! Command-line agents that run as Jobs in the namespace of their sessions.
//!
//! A session is one Job. Its name is made of the launch's key, so that a Job whose creation was not recorded is found by it, and a second
//! one cannot come to be. The program in its Pod, `codeagent-runner`, is told by a Secret what to do and leaves a report in the
//! container's termination message ([`codeagent_runner_protocol`]).
//!
//! Who owns what: the Job belongs to nobody while the agent works, so that it outlives a session that is deleted with
//! `deletionPolicy: Orphan`, and becomes the session's once it is over or told to stop, so that it goes with it. The Secret belongs to the
//! session and to the Job, and goes when both are gone.

mod manifest;
mod observed;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use url::Url;

use self::manifest::{SESSION_UID_LABEL, job_name};
use super::contract::{
    Account, AdoptAnswer, AdoptRequest, Archiving, BaseProvider, CancelAnswer, Capability, Cluster,
    Connection, Extended, Extensions, Found, LaunchOutcome, LaunchRequest, Launched, ManifestKind,
    Provider, ProviderType, Recovery, SessionRef,
};
use super::error::{ErrorClass, ProviderError, Sent, Subject};
use crate::api::{JobAdapter, JobSpec, ProviderKind, ProviderSpec};
use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::snapshot::{RemotePhase, Snapshot};

/// What every adapter can do.
const ANY_PROGRAM: &[Capability] = &[
    Capability::Prompt,
    Capability::Repository,
    Capability::FromPullRequest,
    Capability::BranchName,
    Capability::AutoCreatePullRequest,
    Capability::Cancel,
    Capability::Result,
];

/// What agents can do whose output is understood.
const KNOWN_AGENT: &[Capability] = &[
    Capability::Prompt,
    Capability::Model,
    Capability::Repository,
    Capability::FromPullRequest,
    Capability::BranchName,
    Capability::AutoCreatePullRequest,
    Capability::Cancel,
    Capability::Result,
    Capability::Usage,
    Capability::Cost,
];

/// The code of the API server for a name that is taken.
const ALREADY_EXISTS: &str = "AlreadyExists";

/// What is known of Jobs without talking to the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobType;

impl ProviderType for JobType {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Job
    }

    /// Nothing is dialled there: the operator's own client is used.
    #[expect(
        clippy::expect_used,
        reason = "a constant that the registry's test parses"
    )]
    fn default_endpoint(&self, _: &ProviderSpec) -> Url {
        Url::parse("kubernetes://cluster").expect("a valid URL")
    }

    fn runs_in_cluster(&self) -> bool {
        true
    }

    fn api_version(&self, _: &ProviderSpec) -> &'static str {
        "v1"
    }

    fn further_secret_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn settings(&self, spec: &ProviderSpec) -> &'static [Capability] {
        match spec.job.as_ref().map(|job| job.adapter) {
            Some(JobAdapter::Process) => ANY_PROGRAM,
            Some(
                JobAdapter::Claude | JobAdapter::Codex | JobAdapter::Gemini | JobAdapter::CursorCLI,
            )
            | None => KNOWN_AGENT,
        }
    }

    fn extensions(&self, _: &ProviderSpec) -> Vec<Capability> {
        JobAgent::EXTENSIONS.capabilities()
    }

    /// A follow-up needs a workspace that outlives the Pod, a timeline the Pod's log.
    fn not_yet_used(&self, _: &ProviderSpec) -> BTreeSet<Capability> {
        [
            Capability::FollowUp,
            Capability::Events,
            Capability::Streaming,
        ]
        .into()
    }

    fn recovery(&self, _: &ProviderSpec) -> Recovery {
        Recovery::ClientId
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        let missing = |what| ProviderError::unsent(ErrorClass::InvalidRequest, what);
        let spec = connection.spec.job;
        Ok(Arc::new(JobAgent {
            spec: spec.ok_or_else(|| missing("no settings of a job agent are given"))?,
            cluster: connection
                .cluster
                .ok_or_else(|| missing("a job agent runs in a cluster, and none is given"))?,
        }))
    }
}

/// The Jobs of one CodeAgent's settings in one namespace.
#[derive(Debug)]
struct JobAgent {
    spec: JobSpec,
    cluster: Arc<dyn Cluster>,
}

impl JobAgent {
    /// The Job of this name and where it stands; `None` if there is none.
    async fn look(&self, name: &str) -> Result<Option<(Job, Snapshot)>, ProviderError> {
        let Some(job) = self.cluster.job(name).await? else {
            return Ok(None);
        };
        let pods = self.cluster.pods(name).await?;
        let snapshot = observed::snapshot(name, &job, &pods, Timestamp::now());
        Ok(Some((job, snapshot)))
    }

    /// Makes the session the owner of its Job, if it is not: it then goes with it.
    async fn hand_over(&self, name: &str, job: &Job) -> Result<(), ProviderError> {
        match manifest::owned_by_session(job) {
            Some(patch) => self.cluster.patch(ManifestKind::Job, name, &patch).await,
            None => Ok(()),
        }
    }

    /// Whether the Secrets that the Pod is given were labelled for it by their owners.
    async fn check_consent(&self) -> Result<(), ProviderError> {
        for (name, label) in manifest::secrets(&self.spec) {
            let labels = self.cluster.secret_labels(name).await?;
            let refuse = |why: String| ProviderError {
                subject: Some(Subject::Pod),
                ..ProviderError::unsent(ErrorClass::InvalidRequest, why)
            };
            let Some(labels) = labels else {
                return Err(refuse(format!(
                    "there is no Secret {name}, which spec.provider.job names: create it with the label {label}: \"true\""
                )));
            };
            if labels.get(label).map(String::as_str) != Some("true") {
                return Err(refuse(format!(
                    "the Secret {name}, which spec.provider.job names, is not meant for job agents: if that is wanted, kubectl -n {} label secret {name} {label}=true",
                    self.cluster.namespace()
                )));
            }
        }
        Ok(())
    }

    /// Creates the Secret of a launch. One of an earlier try may hold another prompt.
    async fn create_secret(&self, request: &LaunchRequest) -> Result<(), ProviderError> {
        let secret = manifest::secret(&self.spec, request)?;
        let name = job_name(&request.key);
        match self.cluster.create(&secret, false).await {
            Err(error) if error.code.as_deref() == Some(ALREADY_EXISTS) => {
                let labels = self.cluster.secret_labels(&name).await?.unwrap_or_default();
                if labels.get(SESSION_UID_LABEL) != Some(&request.session.uid) {
                    return Err(taken(&format!(
                        "there is a Secret {name} already, which is not of this session"
                    )));
                }
                self.cluster.delete(ManifestKind::Secret, &name).await?;
                self.cluster.create(&secret, false).await
            }
            other => other,
        }
    }

    /// Everything before the one request that counts: nothing of it starts anything, so that whatever fails here is a refusal.
    async fn prepare(&self, request: &LaunchRequest) -> Result<(), ProviderError> {
        let unsent = |error: ProviderError| ProviderError {
            sent: Sent::Nothing,
            ..error
        };
        self.check_consent().await.map_err(unsent)?;
        if !request.window.is_open() {
            return Err(window_closed());
        }
        self.create_secret(request).await.map_err(unsent)
    }

    /// The Job of this name, which was there already: ours, or somebody else's.
    async fn taken_over(&self, name: &str, request: &LaunchRequest) -> LaunchOutcome {
        match self.look(name).await {
            Ok(Some((job, snapshot))) if manifest::is_of(&job, &request.session.uid) => {
                LaunchOutcome::Accepted(launched(snapshot))
            }
            Ok(Some(_)) => LaunchOutcome::Rejected(taken(&format!(
                "there is a Job {name} already, which is not of this session"
            ))),
            // Gone again, or not to be seen now.
            Ok(None) => LaunchOutcome::Unknown(ProviderError::unreadable(
                Some(409),
                "the Job was there and is gone",
            )),
            Err(error) => LaunchOutcome::Unknown(error),
        }
    }

    /// Makes the Secret live as long as its Job, also beyond a session that is deleted meanwhile. If that does not succeed, a Pod that
    /// waits for its node when such a session goes is left without its task, and fails.
    async fn bind_secret(&self, name: &str, request: &LaunchRequest) {
        if let Ok(Some(job)) = self.cluster.job(name).await
            && let Some(patch) = manifest::owned_by_both(&job, &request.session)
        {
            self.cluster
                .patch(ManifestKind::Secret, name, &patch)
                .await
                .ok();
        }
    }
}

fn window_closed() -> ProviderError {
    ProviderError::unsent(ErrorClass::Timeout, "the send window has closed")
}

/// The name is somebody else's.
fn taken(why: &str) -> ProviderError {
    ProviderError {
        subject: Some(Subject::SessionId),
        ..ProviderError::unsent(
            ErrorClass::Conflict,
            format!("{why}; it is left alone. Remove it, or create a CodeSession with a new name"),
        )
    }
}

fn launched(snapshot: Snapshot) -> Launched {
    Launched {
        session_id: snapshot.session_id,
        run_id: None,
        url: None,
        phase: snapshot.phase,
        raw_status: snapshot.raw_status,
        id_honoured: Some(true),
    }
}

/// Whether an answer of this status proves that nothing was created (rule 1 of the launch protocol).
fn refuses(error: &ProviderError) -> bool {
    error.sent == Sent::Nothing
        || matches!(
            error.status,
            Some(400 | 401 | 402 | 403 | 404 | 405 | 413 | 415 | 422 | 429 | 501)
        )
}

#[async_trait]
impl BaseProvider for JobAgent {
    /// The account is the namespace. The API server checks the Job that a session would become, and stores nothing.
    async fn verify(&self) -> Result<Account, ProviderError> {
        self.check_consent().await?;
        let probe = manifest::probe(&self.spec, self.cluster.as_ref());
        match self.cluster.create(&probe, true).await {
            // What is used up now may be free at the launch, which says so otherwise.
            Err(error) if error.class == ErrorClass::QuotaExhausted => {}
            other => other?,
        }
        let namespace = self.cluster.namespace();
        Ok(Account {
            fingerprint: AccountFingerprint::of("job", &[namespace]),
            name: Some(format!("namespace {namespace}")),
            email: None,
        })
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        let name = job_name(&request.key);
        if let Err(error) = self.prepare(request).await {
            return LaunchOutcome::Rejected(error);
        }
        if !request.window.is_open() {
            return LaunchOutcome::Rejected(window_closed());
        }
        let job = manifest::job(&self.spec, request, self.cluster.as_ref());
        match self.cluster.create(&job, false).await {
            Ok(()) => {
                self.bind_secret(&name, request).await;
                LaunchOutcome::Accepted(Launched {
                    session_id: SessionId::new(name),
                    run_id: None,
                    url: None,
                    phase: RemotePhase::Creating,
                    raw_status: "Created".to_owned(),
                    id_honoured: Some(true),
                })
            }
            Err(error) if error.code.as_deref() == Some(ALREADY_EXISTS) => {
                self.taken_over(&name, request).await
            }
            Err(error) if refuses(&error) => LaunchOutcome::Rejected(error),
            Err(error) => LaunchOutcome::Unknown(error),
        }
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        let mut found = Vec::new();
        for (index, key) in request.keys.iter().enumerate() {
            let name = job_name(key);
            match self.look(&name).await? {
                Some((job, snapshot)) if manifest::is_of(&job, &request.uid) => found.push(Found {
                    snapshot,
                    attempt: None,
                    doubt: None,
                }),
                Some(_) if index == 0 => {
                    return Ok(AdoptAnswer::Foreign {
                        why: format!("the Job {name} is not of this session"),
                    });
                }
                Some(_) | None => {}
            }
        }
        // The newest attempt comes first in the keys.
        found.reverse();
        Ok(if found.is_empty() {
            AdoptAnswer::Absent
        } else {
            AdoptAnswer::Found(found)
        })
    }

    /// A session that is over is told of only once its Job belongs to it: the finalizer goes then, and the Job has to go with the session.
    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        let name = session.session_id.as_str();
        let Some((job, snapshot)) = self.look(name).await? else {
            return Err(ProviderError {
                status: Some(404),
                sent: Sent::Possibly,
                ..ProviderError::unsent(
                    ErrorClass::NotFound,
                    format!("there is no Job {name} any more, somebody has deleted it"),
                )
            });
        };
        if snapshot.phase.is_terminal() {
            self.hand_over(name, &job).await?;
        }
        Ok(snapshot)
    }

    /// Suspends the Job: its controller deletes the Pod, which has its grace period. The Job stays as evidence of what was asked.
    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        let name = session.session_id.as_str();
        let Some((job, snapshot)) = self.look(name).await? else {
            return Ok(CancelAnswer::NotCancellable(Some(format!(
                "there is no Job {name} any more"
            ))));
        };
        if snapshot.phase.is_terminal() {
            return Ok(CancelAnswer::NotCancellable(None));
        }
        let patch = manifest::stopped(&job, Timestamp::now());
        match self.cluster.patch(ManifestKind::Job, name, &patch).await {
            Err(error) if error.class == ErrorClass::NotFound => {
                Ok(CancelAnswer::NotCancellable(None))
            }
            other => other.map(|()| CancelAnswer::Accepted),
        }
    }
}

impl Extended for JobAgent {
    const EXTENSIONS: Extensions<Self> = Extensions {
        archiving: Some(|it| it),
        ..Extensions::NONE
    };
}

#[async_trait]
impl Archiving for JobAgent {
    async fn archive(&self, session: &SessionId) -> Result<(), ProviderError> {
        let name = session.as_str();
        if let Some((_, snapshot)) = self.look(name).await?
            && !snapshot.phase.is_terminal()
        {
            return Err(ProviderError::unsent(
                ErrorClass::Conflict,
                "the agent still works",
            ));
        }
        // The Pod, and with it its workspace, goes with the Job. One that is gone was archived, or removed by a person.
        self.cluster.delete(ManifestKind::Job, name).await?;
        self.cluster.delete(ManifestKind::Secret, name).await
    }
}
