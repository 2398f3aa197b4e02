//! What users do with one session, and what they are promised.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use codeagent_operator::api::{
    CodeAgent, CodeSession, ConditionStatus, MessageStatus, SessionCondition, SessionPhase,
    condition,
};
use codeagent_simulator::{Key, LaunchFilter, LaunchKind, Simulator};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

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
    /// Another message that runs is stopped, and the next one is sent.
    MessageStop,
    /// It is created suspended and resumed; suspended again while it runs, with a message that waits, and resumed.
    SuspendResume,
    /// There are more sessions than their account may run at once, each with a message.
    HandOver,
}

/// What becomes of the object in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is there, in this phase, and nothing of the operator's holds it.
    Phase(SessionPhase),
    /// It is gone.
    Gone,
}

/// A further message of a life, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub name: &'static str,
    /// The phase in which it ends.
    pub end: SessionPhase,
}

/// The message that most lives send.
const MORE: &str = "more";
/// The one after it.
const NEXT: &str = "next";

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
    pub const ALL: [Self; 13] = [
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
        Self::MessageStop,
        Self::SuspendResume,
        Self::HandOver,
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
            Self::MessageStop => "message-stop",
            Self::SuspendResume => "suspend-resume",
            Self::HandOver => "hand-over",
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
            | Self::Archive
            | Self::SuspendResume => true,
            Self::CancelLaunching
            | Self::CancelRunning
            | Self::DeleteLaunching
            | Self::DeleteRunning => provider.stops,
            Self::FollowUp => provider.takes_messages,
            Self::MessageStop => provider.takes_messages && provider.stops,
            Self::HandOver => provider.task == Task::Prompt,
        }
    }

    /// How many sessions there are, where so many are asked for.
    pub(crate) fn sessions(self, crowd: usize) -> usize {
        match self {
            Self::HandOver => crowd.max(2),
            _ => crowd,
        }
    }

    /// How many of so many sessions the account may run at once, where that is bounded.
    pub(crate) fn at_once(self, sessions: usize) -> Option<usize> {
        (self == Self::HandOver).then(|| (sessions / 10).max(1))
    }

    /// The further messages of each session, in order.
    pub fn messages(self, provider: &UnderTest) -> Vec<Message> {
        let message = |name, end| Message { name, end };
        if !provider.takes_messages {
            return Vec::new();
        }
        match self {
            Self::FollowUp | Self::SuspendResume | Self::HandOver => {
                vec![message(MORE, SessionPhase::Finished)]
            }
            Self::MessageStop => vec![
                message(MORE, SessionPhase::Cancelled),
                message(NEXT, SessionPhase::Finished),
            ],
            Self::Run
            | Self::CancelPending
            | Self::CancelLaunching
            | Self::CancelRunning
            | Self::DeleteLaunching
            | Self::DeleteRunning
            | Self::AgentDeleted
            | Self::SecretRotated
            | Self::Archive => Vec::new(),
        }
    }

    /// What the session's `spec` says of this life from its beginning.
    pub(crate) fn spec(self, provider: &UnderTest) -> Value {
        match self {
            Self::SuspendResume => json!({"desiredState": "Suspended"}),
            Self::HandOver if provider.takes_messages => json!({"messages": [short(MORE)]}),
            _ => json!({}),
        }
    }

    /// What the simulated session is told to do.
    pub(crate) fn directive(self) -> &'static str {
        match self {
            Self::Run | Self::CancelPending | Self::Archive | Self::HandOver => {
                "creating=20ms setup=10ms running=150ms"
            }
            Self::CancelLaunching | Self::DeleteLaunching => "latency=150ms outcome=never",
            Self::CancelRunning | Self::DeleteRunning => "creating=20ms outcome=never",
            // Long enough for the user to act meanwhile.
            Self::AgentDeleted
            | Self::SecretRotated
            | Self::FollowUp
            | Self::MessageStop
            | Self::SuspendResume => "creating=20ms setup=10ms running=450ms",
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
            // As for a follow-up; the stop is announced and its acceptance kept; the next message; and one more in vain.
            Self::MessageStop => promise(End::Phase(SessionPhase::Finished), 1..=1, 23),
            // As for a follow-up; that it is held, twice; and two more in vain, at most, for the other changes of the object.
            Self::SuspendResume => promise(End::Phase(SessionPhase::Finished), 1..=1, 18),
            // As for a follow-up, and that it waits, twice.
            Self::HandOver => promise(End::Phase(SessionPhase::Finished), 1..=1, 16),
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
                let suspended = |session: &CodeSession| {
                    has_reason(session, SessionCondition::Reconciling, "AgentSuspended")
                };
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
                stage.change(json!({"messages": [short(MORE)]})).await?;
                stage.until_over(MORE).await?;
            }
            Self::MessageStop => stage.stop_message().await?,
            Self::SuspendResume => stage.suspend_and_resume().await?,
            Self::HandOver => {
                if stage.provider.takes_messages {
                    stage.until_over(MORE).await?;
                }
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

/// What became of the message of this name, once there is something.
pub(crate) fn message_of<'a>(session: &'a CodeSession, name: &str) -> Option<&'a MessageStatus> {
    let mut messages = session.status.as_ref()?.messages.iter();
    messages.find(|message| message.name == name)
}

fn is_message_over(session: &CodeSession, name: &str) -> bool {
    message_of(session, name).is_some_and(|message| message.phase.is_terminal())
}

/// A message, as in the `spec`, that runs as in the simplest life.
fn short(name: &str) -> Value {
    message(name, Lifecycle::Run.directive())
}

fn message(name: &str, directive: &str) -> Value {
    json!({"name": name, "prompt": format!("sim: {directive}\nGo on")})
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

fn has_reason(session: &CodeSession, kind: SessionCondition, reason: &str) -> bool {
    session
        .status
        .as_ref()
        .and_then(|status| condition(&status.conditions, kind.as_str()))
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
        self.change(json!({"desiredState": state})).await
    }

    /// Changes the `spec` of each session.
    async fn change(&self, spec: Value) -> Result<(), Trouble> {
        let sessions: Api<CodeSession> = self.api();
        let patch = Patch::Merge(json!({"spec": spec}));
        let parameters = PatchParams::default();
        for (name, _) in self.sessions {
            sessions.patch(name, &parameters, &patch).await?;
        }
        Ok(())
    }

    async fn until_over(&self, name: &str) -> Result<(), Trouble> {
        let over = |session: &CodeSession| is_message_over(session, name);
        self.until(&format!("through with the message {name}"), over)
            .await
    }

    /// Adds a message that does not end by itself, stops it once it runs, and adds another one.
    async fn stop_message(&self) -> Result<(), Trouble> {
        self.until("running", at_least_running).await?;
        let mut stopped = message(MORE, "creating=20ms outcome=never");
        self.change(json!({"messages": [stopped]})).await?;
        let running = |session: &CodeSession| {
            message_of(session, MORE).is_some_and(|message| {
                message.phase == SessionPhase::Running || message.phase.is_terminal()
            })
        };
        self.until("at its message", running).await?;
        if let Value::Object(members) = &mut stopped {
            members.insert("cancel".to_owned(), Value::Bool(true));
        }
        let next = short(NEXT);
        self.change(json!({"messages": [stopped, next]})).await?;
        self.until_over(NEXT).await
    }

    /// Resumes a session that was created suspended; then suspends it again while it runs, and resumes it with a message that waits.
    async fn suspend_and_resume(&self) -> Result<(), Trouble> {
        let before_launch =
            |session: &CodeSession| has_reason(session, SessionCondition::Reconciling, "Suspended");
        self.until("held before its launch", before_launch).await?;
        self.sent_nothing(LaunchKind::Session)?;
        self.desire("Running").await?;
        self.until("running", at_least_running).await?;
        if !self.provider.takes_messages {
            return Ok(());
        }
        let held = json!({"desiredState": "Suspended", "messages": [short(MORE)]});
        self.change(held).await?;
        // Of a launch that stays unknown the message is told at once that nobody will take it.
        let before_message = |session: &CodeSession| {
            let held = has_reason(session, SessionCondition::Completed, "Suspended");
            (is_over(session) && held) || is_message_over(session, MORE)
        };
        self.until("held before its message", before_message)
            .await?;
        self.sent_nothing(LaunchKind::Message)?;
        self.desire("Running").await?;
        self.until_over(MORE).await
    }

    /// Nothing of this kind was taken by the provider yet.
    fn sent_nothing(&self, kind: LaunchKind) -> Result<(), Trouble> {
        let launches = self.simulator.launches(&LaunchFilter {
            kind: Some(kind),
            ..LaunchFilter::default()
        });
        match launches.as_slice() {
            [] => Ok(()),
            sent => Err(format!("sent although it was suspended: {sent:?}").into()),
        }
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
