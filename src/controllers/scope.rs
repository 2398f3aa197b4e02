//! One scope (a namespace, or all of them): its caches, its queues, its two controllers.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube_runtime::reflector::{ObjectRef, Store};
use kube_runtime::watcher;

use super::accounts::ConnectionKey;
use super::context::Context;
use super::error::Chain;
use super::memory::IssueKey;
use super::metrics::Controller;
use crate::api::{CodeAgent, CodeSession, QueueResource};
use crate::domain::ids::SessionId;
use crate::domain::session::Stage;
use crate::domain::template::Seen as SeenTemplate;
use crate::runtime::lock::lock;
use crate::runtime::overlay::Overlay;
use crate::runtime::watch::{self, Change, Queue};

/// A scope.
pub struct Scope {
    /// What every pass shares.
    pub context: Context,
    /// The cache of CodeSessions.
    pub sessions: Store<CodeSession>,
    /// Our own writes to them.
    pub sessions_overlay: Overlay<CodeSession>,
    /// Where a look at a session is asked for.
    pub session_queue: Queue<CodeSession>,
    /// The cache of CodeAgents.
    pub agents: Store<CodeAgent>,
    /// Our own writes to them.
    pub agents_overlay: Overlay<CodeAgent>,
    agent_queue: Queue<CodeAgent>,
    known: Mutex<HashSet<String>>,
    waiting: Mutex<HashSet<String>>,
    counted: Mutex<HashMap<String, Instant>>,
    keys: Mutex<HashMap<String, ConnectionKey>>,
    templates: Mutex<HashMap<String, SeenTemplate>>,
}

impl Scope {
    /// A scope over these caches and queues.
    pub(super) fn new(
        context: Context,
        (sessions, session_queue): (Store<CodeSession>, Queue<CodeSession>),
        (agents, agent_queue): (Store<CodeAgent>, Queue<CodeAgent>),
    ) -> Self {
        Self {
            context,
            sessions,
            sessions_overlay: Overlay::default(),
            session_queue,
            agents,
            agents_overlay: Overlay::default(),
            agent_queue,
            known: Mutex::default(),
            waiting: Mutex::default(),
            counted: Mutex::default(),
            keys: Mutex::default(),
            templates: Mutex::default(),
        }
    }

    /// How long until the counts of the agent with this uid may be written again; `None` if they may be now.
    pub(super) fn until_counts(&self, uid: &str) -> Option<Duration> {
        let written = *lock(&self.counted).get(uid)?;
        self.context
            .settings
            .counts_interval
            .checked_sub(written.elapsed())
            .filter(|wait| !wait.is_zero())
    }

    /// The counts of the agent with this uid were written.
    pub(super) fn note_counts(&self, uid: &str) {
        lock(&self.counted).insert(uid.to_owned(), Instant::now());
    }

    /// The agent with this uid uses this key now; what was known of an older key of it is forgotten.
    pub(super) fn note_key(&self, uid: &str, key: &ConnectionKey) {
        let mut keys = lock(&self.keys);
        let before = keys.insert(uid.to_owned(), key.clone());
        if let Some(before) = before
            && before != *key
            && !keys.values().any(|other| *other == before)
        {
            self.context.accounts.forget(&before);
        }
    }

    /// Changes what is remembered of the template of the agent with this uid.
    pub(super) fn change_template<T>(
        &self,
        uid: &str,
        change: impl FnOnce(&mut SeenTemplate) -> T,
    ) -> T {
        change(lock(&self.templates).entry(uid.to_owned()).or_default())
    }

    /// The provider does not know the template of this agent: it is looked for again.
    pub(super) fn doubt_template(&self, namespace: &str, name: &str) {
        let reference = ObjectRef::new(name).within(namespace);
        if let Some(uid) = self.agents.get(&reference).and_then(|agent| agent.uid()) {
            self.change_template(&uid, |seen| seen.look = None);
        }
        self.agent_queue.push(reference);
    }

    /// Forgets an agent that is gone.
    pub(super) fn forget_agent(&self, uid: &str) {
        self.agents_overlay.forget(uid);
        lock(&self.counted).remove(uid);
        lock(&self.keys).remove(uid);
        lock(&self.templates).remove(uid);
    }

    /// The key that the agent with this uid uses, as far as it was looked at.
    pub(super) fn key_of(&self, uid: &str) -> Option<ConnectionKey> {
        lock(&self.keys).get(uid).cloned()
    }

    /// The agent is looked at again.
    pub(super) fn look_at_agent(&self, agent: &CodeAgent) {
        self.agent_queue.push(ObjectRef::from_obj(agent));
    }

    /// The CodeAgents of a namespace look at their keys again.
    pub(super) fn recheck_agents(&self, namespace: Option<&str>) {
        for agent in self.agents.state() {
            if agent.metadata.namespace.as_deref() == namespace {
                self.agent_queue.push(ObjectRef::from_obj(&*agent));
            }
        }
    }

    /// Everything in the caches is looked at: nobody has until now.
    pub(super) fn look_at_everything(&self) {
        for agent in self.agents.state() {
            self.agent_queue.push(ObjectRef::from_obj(&*agent));
        }
        for session in self.sessions.state() {
            self.session_queue.push(ObjectRef::from_obj(&*session));
        }
    }

    /// What a change of a session brings with it.
    pub(super) fn on_session(&self, change: Change<'_, CodeSession>) {
        match change {
            Change::Applied(session) => {
                self.note_turn(session);
                self.session_queue.push(ObjectRef::from_obj(session));
                lock(&self.known).extend(session.uid());
                self.note_owner(session);
                self.moved(session);
            }
            Change::Deleted(session) => {
                self.context.sweeper.depart(session);
                if let Some(uid) = session.uid() {
                    self.leave_turn(&uid);
                    self.forget(&uid);
                }
                self.moved(session);
                lock(&self.waiting).remove(&session.uid().unwrap_or_default());
                let namespace = session.namespace().unwrap_or_default();
                if watch::in_namespace(&self.sessions, &namespace).is_empty() {
                    self.context.forget_namespace(&namespace);
                }
            }
            Change::Complete => {
                self.sessions_overlay.clear();
                self.forget_gone();
                // While the list came in, passes still saw the cache of before.
                for session in self.sessions.state() {
                    self.session_queue.push(ObjectRef::from_obj(&*session));
                }
            }
            Change::Malformed { object, error } => {
                self.context.metrics.malformed(Controller::Session);
                tracing::error!(
                    object,
                    error,
                    "a CodeSession in the store cannot be read; the others go on"
                );
            }
            Change::Interrupted(error) => interrupted("CodeSessions", error),
        }
    }

    /// What a change of a CodeAgent brings with it.
    pub(super) fn on_agent(&self, change: Change<'_, CodeAgent>) {
        match change {
            Change::Applied(agent) => {
                self.agent_queue.push(ObjectRef::from_obj(agent));
                self.wake_sessions(agent);
            }
            Change::Deleted(agent) => {
                self.wake_sessions(agent);
                if let Some(uid) = agent.uid() {
                    self.forget_agent(&uid);
                }
            }
            Change::Complete => {
                self.agents_overlay.clear();
                for agent in self.agents.state() {
                    self.agent_queue.push(ObjectRef::from_obj(&*agent));
                    self.wake_sessions(&agent);
                }
            }
            Change::Malformed { object, error } => {
                self.context.metrics.malformed(Controller::Agent);
                tracing::error!(
                    object,
                    error,
                    "a CodeAgent in the store cannot be read; the others go on"
                );
            }
            Change::Interrupted(error) => interrupted("CodeAgents", error),
        }
    }

    /// Forgets a session that is gone.
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.known).remove(uid);
        lock(&self.waiting).remove(uid);
        self.context.poller.forget(uid);
        self.context.memory.forget(uid);
        self.context.disown(uid);
        self.sessions_overlay.forget(uid);
    }

    /// Forgets the sessions that went while the watch was interrupted: nobody tells of them.
    fn forget_gone(&self) {
        let current: HashSet<String> = self
            .sessions
            .state()
            .iter()
            .filter_map(|session| session.uid())
            .collect();
        let gone: Vec<String> = lock(&self.known).difference(&current).cloned().collect();
        for uid in gone {
            self.forget(&uid);
        }
    }

    /// The sessions of an agent that are not launched yet may get further now.
    fn wake_sessions(&self, agent: &CodeAgent) {
        let namespace = agent.namespace().unwrap_or_default();
        for session in watch::in_namespace(&self.sessions, &namespace) {
            if session.spec.agent_ref.name == agent.name_any() && !settled(&session) {
                self.session_queue.push(ObjectRef::from_obj(&*session));
            }
        }
    }

    /// A session has moved: its agent counts again, and who waits for its place may get it.
    fn moved(&self, session: &CodeSession) {
        let namespace = session.namespace().unwrap_or_default();
        let agent = &session.spec.agent_ref.name;
        self.agent_queue
            .push(ObjectRef::new(agent).within(&namespace));
        if settled(session) || session.metadata.deletion_timestamp.is_some() {
            self.wake_waiting(&namespace, agent);
        }
        if self.begins_to_wait(session) {
            // Who is less urgent has moved back by one place.
            self.wake_waiting(&namespace, agent);
        }
    }

    /// Whether a session waits for a place and did not when it was last seen.
    fn begins_to_wait(&self, session: &CodeSession) -> bool {
        let uid = session.uid().unwrap_or_default();
        let mut waiting = lock(&self.waiting);
        if waits_for_place(session) {
            waiting.insert(uid)
        } else {
            waiting.remove(&uid);
            false
        }
    }

    /// A place has become free: who waits for one may get it.
    pub(super) fn wake_waiting(&self, namespace: &str, agent: &str) {
        for waiting in watch::in_namespace(&self.sessions, namespace) {
            if waits_for_place(&waiting) && waiting.spec.agent_ref.name == agent {
                self.session_queue.push(ObjectRef::from_obj(&*waiting));
            }
        }
    }

    /// A stored claim holds its issue, whoever made it: a process that comes later must not launch on it beside.
    fn note_turn(&self, session: &CodeSession) {
        if let (Some(issue), Some(uid)) = (open_claim(session), session.uid()) {
            let context = &self.context;
            let session = ObjectRef::from_obj(session);
            context
                .memory
                .hold_turn(issue, &uid, &session, context.uptime());
        }
    }

    /// Gives back the turn at an issue, and who waits for it may get it.
    pub(super) fn leave_turn(&self, uid: &str) {
        let Some(issue) = self.context.memory.leave_turn(uid) else {
            return;
        };
        for waiting in self.sessions.state() {
            if waits_for_issue(&waiting) && waiting.spec.issue.as_ref() == Some(&issue.issue) {
                self.session_queue.push(ObjectRef::from_obj(&*waiting));
            }
        }
    }

    fn note_owner(&self, session: &CodeSession) {
        let status = session.status.as_ref();
        let launched = Stage::of(status).launched().is_some();
        let id = status
            .and_then(|status| status.provider.as_ref())
            .and_then(|provider| provider.session_id.as_ref());
        if let (true, Some(id), Some(uid)) = (launched, id, session.uid()) {
            self.context.own(SessionId::new(id.clone()), &uid);
        }
    }
}

fn interrupted(kind: &'static str, error: &watcher::Error) {
    let missing = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    };
    if missing {
        tracing::error!(
            kind,
            "the definition is missing: codeagent-operator crds | kubectl apply --server-side -f -"
        );
    } else {
        tracing::warn!(kind, error = %Chain(error), "a watch was interrupted and goes on");
    }
}

/// Whether a session waits for a place among those of its agent.
pub(super) fn waits_for_place(session: &CodeSession) -> bool {
    waits_for(session, QueueResource::Capacity)
}

/// Whether a session waits for the open launch of another one on the same issue.
fn waits_for_issue(session: &CodeSession) -> bool {
    waits_for(session, QueueResource::Issue)
}

fn waits_for(session: &CodeSession, resource: QueueResource) -> bool {
    session
        .status
        .as_ref()
        .and_then(|status| status.queue.as_ref())
        .is_some_and(|queue| queue.of == resource)
}

/// The issue on which a launch of the session is open: claimed, and its outcome not known.
pub(super) fn open_claim(session: &CodeSession) -> Option<IssueKey> {
    let Stage::Open(record) = Stage::of(session.status.as_ref()) else {
        return None;
    };
    record.target.issue.as_ref().map(|issue| IssueKey {
        endpoint: record.target.endpoint.clone(),
        issue: issue.clone(),
    })
}

fn settled(session: &CodeSession) -> bool {
    session
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_terminal())
}
