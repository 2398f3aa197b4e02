//! What users do with one session, and what they are promised.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use codeagent_operator::api::{
    CodeAgent, CodeSession, ConditionStatus, MessageStatus, SessionCondition, SessionPhase,
    condition,
};
use codeagent_simulator::{Key, Simulator};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::Trouble;
use crate::history::{History, Versions};
use crate::provider::{Task, UnderTest};
use crate::proxy::Exchange;

/// A life of one session. Another variant brings its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lifecycle {
    /// It runs and finishes.
    Run,
    /// It is cancelled while its CodeAgent is suspended.
    CancelPending,
    /// It is cancelled while its launch is under way.
    CancelLaunching,
    /// It is cancelled while it runs.
    CancelRunning,
    /// It is deleted while its launch is under way.
    DeleteLaunching,
    /// It is deleted while it runs.
    DeleteRunning,
    /// Its CodeAgent is deleted while it runs.
    AgentDeleted,
    /// The key is replaced while it runs, and the old one revoked.
    SecretRotated,
    /// It is archived when it has finished.
    Archive,
    /// It is sent another message while it runs.
    FollowUp,
}

/// What becomes of the object in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is there, in this phase, and nothing of the operator's holds it.
    Phase(SessionPhase),
    /// It is gone.
    Gone,
}

/// What a user is promised.
#[derive(Clone, Debug)]
pub struct Promise {
    /// What becomes of the object.
    pub end: End,
    /// How often the provider is paid.
    pub launches: RangeInclusive<usize>,
    /// How many writes of the session this costs without a fault.
    pub writes: usize,
}

impl Lifecycle {
    /// Every life.
    pub const ALL: [Self; 10] = [
        Self::Run,
        Self::CancelPending,
        Self::CancelLaunching,
        Self::CancelRunning,
        Self::DeleteLaunching,
        Self::DeleteRunning,
        Self::AgentDeleted,
        Self::SecretRotated,
        Self::Archive,
        Self::FollowUp,
    ];

    /// Its name in tables and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::CancelPending => "cancel-pending",
            Self::CancelLaunching => "cancel-launching",
            Self::CancelRunning => "cancel-running",
            Self::DeleteLaunching => "delete-launching",
            Self::DeleteRunning => "delete-running",
            Self::AgentDeleted => "agent-deleted",
            Self::SecretRotated => "secret-rotated",
            Self::Archive => "archive",
            Self::FollowUp => "follow-up",
        }
    }

    /// Whether it can be tried at this provider, with so many sessions at once.
    pub fn applies(self, provider: &UnderTest, crowd: usize) -> bool {
        // Sessions on one issue take turns.
        if crowd > 1 && provider.task != Task::Prompt {
            return false;
        }
        match self {
            Self::Run
            | Self::CancelPending
            | Self::AgentDeleted
            | Self::SecretRotated
            | Self::Archive => true,
            Self::CancelLaunching
            | Self::CancelRunning
            | Self::DeleteLaunching
            | Self::DeleteRunning => provider.stops,
            Self::FollowUp => provider.takes_messages,
        }
    }

    /// What the simulated session is told to do.
    pub(crate) fn directive(self) -> &'static str {
        match self {
            Self::Run | Self::CancelPending | Self::Archive => {
                "creating=20ms setup=10ms running=150ms"
            }
            Self::CancelLaunching | Self::DeleteLaunching => "latency=150ms outcome=never",
            Self::CancelRunning | Self::DeleteRunning => "creating=20ms outcome=never",
            // Long enough for the user to act meanwhile.
            Self::AgentDeleted | Self::SecretRotated | Self::FollowUp => {
                "creating=20ms setup=10ms running=450ms"
            }
        }
    }

    /// Whether the CodeAgent starts nothing.
    pub(crate) fn suspended(self) -> bool {
        self == Self::CancelPending
    }

    /// What a user is promised.
    pub fn promise(self) -> Promise {
        let promise = |end, launches, writes| Promise {
            end,
            launches,
            writes,
        };
        match self {
            // Finalizer, claim, launched, running, terminal, finalizer released.
            Self::Run | Self::AgentDeleted => promise(End::Phase(SessionPhase::Finished), 1..=1, 6),
            // That it is archived; and one in vain, if the user's change of the object overtakes it.
            Self::Archive => promise(End::Phase(SessionPhase::Finished), 1..=1, 8),
            // The same again for the message, but for its end's finalizer, which may go once for both; the session's page, where it is
            // another one; and one in vain, if the user's change of the object overtakes it.
            Self::FollowUp => promise(End::Phase(SessionPhase::Finished), 1..=1, 14),
            // That the key is refused, and that it no longer is: two more.
            Self::SecretRotated => promise(End::Phase(SessionPhase::Finished), 1..=1, 8),
            // Suspended, cancelled, and one in vain.
            Self::CancelPending => promise(End::Phase(SessionPhase::Cancelled), 0..=0, 3),
            // The stop is announced before it is sent, and its acceptance kept: two more. And one in vain, if the user's change of the
            // object overtakes it.
            Self::CancelRunning => promise(End::Phase(SessionPhase::Cancelled), 1..=1, 9),
            Self::DeleteRunning => promise(End::Gone, 1..=1, 9),
            // A launch that is proven not to have arrived is not sent again.
            Self::CancelLaunching => promise(End::Phase(SessionPhase::Cancelled), 0..=1, 9),
            Self::DeleteLaunching => promise(End::Gone, 0..=1, 9),
        }
    }

    /// Does what the user does, up to the last deed.
    pub(crate) async fn act(self, stage: &Stage<'_>) -> Result<(), Trouble> {
        match self {
            Self::Run => {}
            Self::CancelPending => {
                let suspended = |session: &CodeSession| has_reason(session, "AgentSuspended");
                stage.until("held by its CodeAgent", suspended).await?;
                stage.desire("Cancelled").await?;
            }
            Self::CancelLaunching => {
                stage.until_launching().await?;
                stage.desire("Cancelled").await?;
            }
            Self::CancelRunning => {
                stage.until("running", at_least_running).await?;
                stage.desire("Cancelled").await?;
            }
            Self::DeleteLaunching => {
                stage.until_launching().await?;
                stage.delete().await?;
            }
            Self::DeleteRunning => {
                stage.until("running", at_least_running).await?;
                stage.delete().await?;
            }
            Self::AgentDeleted => {
                stage.until("running", at_least_running).await?;
                stage.delete_agent().await?;
            }
            Self::SecretRotated => {
                stage.until("running", at_least_running).await?;
                stage.rotate_key().await?;
            }
            Self::FollowUp => {
                stage.until("running", at_least_running).await?;
                stage.add_message().await?;
                stage
                    .until("through with its message", message_is_over)
                    .await?;
            }
            Self::Archive => {
                stage.until("over", is_over).await?;
                stage.desire("Archived").await?;
                stage.until("archived", is_archived).await?;
            }
        }
        Ok(())
    }
}

/// The name of the message that is sent to a running session.
pub(crate) const MESSAGE: &str = "more";

/// What became of the message, once there is something.
pub(crate) fn message_of(session: &CodeSession) -> Option<&MessageStatus> {
    let mut messages = session.status.as_ref()?.messages.iter();
    messages.find(|message| message.name == MESSAGE)
}

fn message_is_over(session: &CodeSession) -> bool {
    message_of(session).is_some_and(|message| message.phase.is_terminal())
}

fn is_over(session: &CodeSession) -> bool {
    phase_of(session).is_terminal()
}

/// Whether a session says that it is archived, at its provider or here alone.
pub(crate) fn is_archived(session: &CodeSession) -> bool {
    let archived = SessionCondition::Archived.as_str();
    let status = session.status.as_ref();
    status
        .and_then(|status| condition(&status.conditions, archived))
        .is_some_and(|condition| condition.status == ConditionStatus::True)
}

fn at_least_running(session: &CodeSession) -> bool {
    let phase = phase_of(session);
    phase == SessionPhase::Running || phase.is_terminal()
}

/// The session's phase.
pub(crate) fn phase_of(session: &CodeSession) -> SessionPhase {
    let status = session.status.as_ref();
    status.map(|status| status.phase).unwrap_or_default()
}

fn has_reason(session: &CodeSession, reason: &str) -> bool {
    let reconciling = SessionCondition::Reconciling.as_str();
    session
        .status
        .as_ref()
        .and_then(|status| condition(&status.conditions, reconciling))
        .is_some_and(|condition| condition.reason == reason)
}

/// The key that takes the place of the first one.
pub(crate) const NEW_KEY: &str = "the-key-after-rotation";

/// Where a life takes place, as its user sees it.
pub(crate) struct Stage<'a> {
    pub(crate) provider: &'static UnderTest,
    /// The name of the CodeAgent.
    pub(crate) name: &'a str,
    /// The names of the sessions, and what becomes of them.
    pub(crate) sessions: &'a [(String, History)],
    pub(crate) client: kube::Client,
    pub(crate) namespace: &'a str,
    pub(crate) exchange: &'a Exchange,
    pub(crate) simulator: &'a Simulator,
    /// How long a user waits for something before it counts as stuck: many times what the slowest fault costs.
    pub(crate) patience: Duration,
}

impl Stage<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn until(&self, what: &str, holds: impl Fn(&CodeSession) -> bool) -> Result<(), Trouble> {
        let seen = |versions: &Versions| versions.newest().is_some_and(&holds);
        let patience = self.patience;
        let all = async {
            for (_, history) in self.sessions {
                history.until(seen).await;
            }
        };
        match tokio::time::timeout(patience, all).await {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("stuck: after {patience:?} a session is not {what}").into()),
        }
    }

    async fn until_launching(&self) -> Result<(), Trouble> {
        let sent = self
            .exchange
            .until_made(|call| self.provider.is_launch(call));
        let patience = self.patience;
        match tokio::time::timeout(patience, sent).await {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("stuck: after {patience:?} no launch was sent").into()),
        }
    }

    /// Sets `spec.desiredState`.
    async fn desire(&self, state: &str) -> Result<(), Trouble> {
        let sessions: Api<CodeSession> = self.api();
        let patch = Patch::Merge(json!({"spec": {"desiredState": state}}));
        let parameters = PatchParams::default();
        for (name, _) in self.sessions {
            sessions.patch(name, &parameters, &patch).await?;
        }
        Ok(())
    }

    async fn add_message(&self) -> Result<(), Trouble> {
        let sessions: Api<CodeSession> = self.api();
        let prompt = format!("sim: {}\nGo on", Lifecycle::Run.directive());
        let patch =
            Patch::Merge(json!({"spec": {"messages": [{"name": MESSAGE, "prompt": prompt}]}}));
        let parameters = PatchParams::default();
        for (name, _) in self.sessions {
            sessions.patch(name, &parameters, &patch).await?;
        }
        Ok(())
    }

    async fn delete(&self) -> Result<(), Trouble> {
        let sessions: Api<CodeSession> = self.api();
        for (name, _) in self.sessions {
            sessions.delete(name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    async fn delete_agent(&self) -> Result<(), Trouble> {
        let agents: Api<CodeAgent> = self.api();
        agents.delete(self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// As people rotate keys: the new one is made, put into the Secret, and the old one revoked.
    async fn rotate_key(&self) -> Result<(), Trouble> {
        let keys = self.simulator.keys();
        let old = keys
            .iter()
            .find(|key| key.provider == self.provider.simulated)
            .ok_or("the simulator has no key of this provider")?;
        let (values, sent) = self.provider.rotated(NEW_KEY);
        self.simulator.add_key(Key {
            secret: sent,
            name: "rotated".to_owned(),
            ..old.clone()
        });
        let secrets: Api<Secret> = self.api();
        let patch = Patch::Merge(json!({"stringData": values}));
        let name = self.provider.secret_name();
        secrets.patch(name, &PatchParams::default(), &patch).await?;
        self.simulator.revoke(old.provider, &old.name);
        Ok(())
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No life has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no lifecycle {0:?}; there are: {known}", known = Lifecycle::ALL.map(Lifecycle::as_str).join(", "))]
pub struct NoLifecycle(String);

impl FromStr for Lifecycle {
    type Err = NoLifecycle;

    fn from_str(name: &str) -> Result<Self, NoLifecycle> {
        let found = Self::ALL.into_iter().find(|life| life.as_str() == name);
        found.ok_or_else(|| NoLifecycle(name.to_owned()))
    }
}
