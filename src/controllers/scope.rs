//! One scope (a namespace, or all of them): its caches and queues, and what a change of an object brings with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::ObjectRef;
use kube_runtime::watcher;

use super::accounts::ConnectionKey;
use super::admission::Applicant;
use super::context::Context;
use super::error::Chain;
use super::finished::Finished;
use super::metrics::Controller;
use super::orphans::DeletedSession;
use crate::api::{CodeAgent, CodeSession, SessionPhase};
use crate::domain::session::{is_looked_for, next_message};
use crate::domain::template::Seen as SeenTemplate;
use crate::domain::webhook::is_pending;
use crate::runtime::cache::{Cache, Change, Kept};
use crate::runtime::lock::lock;
use crate::runtime::queue::Queue;

/// A scope.
pub struct Scope {
    /// What every pass shares.
    pub context: Context,
    /// The CodeSessions.
    pub sessions: Arc<Cache<CodeSession>>,
    /// Where a look at a session is asked for.
    pub session_queue: Queue<ObjectRef<CodeSession>>,
    /// The CodeAgents.
    pub agents: Cache<CodeAgent>,
    agent_queue: Queue<ObjectRef<CodeAgent>>,
    webhook_queue: Queue<ObjectRef<CodeSession>>,
    remembered: Mutex<HashMap<String, RememberedAgent>>,
    /// The session that was launched last of each CodeAgent (namespace, name): its launch shows what the provider does with it.
    newest: Mutex<HashMap<(String, String), Arc<CodeSession>>>,
}

/// What is remembered of a CodeAgent, by its uid.
#[derive(Default)]
struct RememberedAgent {
    /// When the counts of its sessions were last written.
    counted: Option<Instant>,
    /// The key that it uses, as far as it was looked at.
    key: Option<ConnectionKey>,
    template: SeenTemplate,
}

impl Scope {
    /// A scope with these queues; its caches are empty.
    pub(super) fn new(
        context: Context,
        session_queue: Queue<ObjectRef<CodeSession>>,
        agent_queue: Queue<ObjectRef<CodeAgent>>,
        webhook_queue: Queue<ObjectRef<CodeSession>>,
    ) -> Self {
        Self {
            context,
            sessions: Arc::default(),
            session_queue,
            agents: Cache::default(),
            agent_queue,
            webhook_queue,
            remembered: Mutex::default(),
            newest: Mutex::default(),
        }
    }

    /// How long until the counts of the agent with this uid may be written again; `None` if they may be now.
    pub(super) fn until_counts(&self, uid: &str) -> Option<Duration> {
        let written = lock(&self.remembered).get(uid)?.counted?;
        self.context
            .settings
            .counts_interval
            .checked_sub(written.elapsed())
            .filter(|wait| !wait.is_zero())
    }

    /// The counts of the agent with this uid were written.
    pub(super) fn note_counts(&self, uid: &str) {
        self.remember(uid, |agent| agent.counted = Some(Instant::now()));
    }

    /// The agent with this uid uses this key now; what was known of an older key of it is forgotten.
    pub(super) fn note_key(&self, uid: &str, key: &ConnectionKey) {
        let before = self.remember(uid, |agent| agent.key.replace(key.clone()));
        self.forget_key(before.filter(|before| before != key));
    }

    /// What is known of a key that no agent uses any more is forgotten.
    fn forget_key(&self, key: Option<ConnectionKey>) {
        let Some(key) = key else { return };
        let used = lock(&self.remembered)
            .values()
            .any(|agent| agent.key.as_ref() == Some(&key));
        if !used {
            self.context.accounts.forget(&key);
        }
    }

    /// Changes what is remembered of the template of the agent with this uid.
    pub(super) fn change_template<T>(
        &self,
        uid: &str,
        change: impl FnOnce(&mut SeenTemplate) -> T,
    ) -> T {
        self.remember(uid, |agent| change(&mut agent.template))
    }

    fn remember<T>(&self, uid: &str, change: impl FnOnce(&mut RememberedAgent) -> T) -> T {
        change(lock(&self.remembered).entry(uid.to_owned()).or_default())
    }

    /// The provider does not know the template of this agent: it is looked for again.
    pub(super) fn doubt_template(&self, namespace: &str, name: &str) {
        let reference = ObjectRef::new(name).within(namespace);
        if let Some(uid) = self.agents.get(&reference).and_then(|agent| agent.uid()) {
            self.change_template(&uid, |seen| seen.lookup = None);
        }
        self.agent_queue.push(reference);
    }

    /// Forgets an agent that is gone.
    pub(super) fn forget_agent(&self, uid: &str) {
        let agent = lock(&self.remembered).remove(uid);
        self.forget_key(agent.and_then(|agent| agent.key));
    }

    /// The key that the agent with this uid uses, as far as it was looked at.
    pub(super) fn key_of(&self, uid: &str) -> Option<ConnectionKey> {
        lock(&self.remembered).get(uid)?.key.clone()
    }

    /// The agent is looked at again.
    pub(super) fn look_at_agent(&self, agent: &CodeAgent) {
        self.agent_queue.push(ObjectRef::from_obj(agent));
    }

    /// The CodeAgents of a namespace look at their keys again.
    pub(super) fn recheck_agents(&self, namespace: Option<&str>) {
        for agent in self.agents.in_namespace(namespace.unwrap_or_default()) {
            self.look_at_agent(&agent);
        }
    }

    /// Everything with which something is left to do is looked at.
    pub(super) fn look_at_everything(&self) {
        for agent in self.agents.all() {
            self.look_at_agent(&agent);
        }
        for session in self.sessions.all() {
            self.session_queue.push(ObjectRef::from_obj(&*session));
            self.note_report(&session);
        }
        self.sessions.for_each(|namespace, name, kept| {
            if let Kept::Record(finished) = kept
                && self.is_looked_for(finished)
            {
                self.session_queue
                    .push(ObjectRef::new(name).within(namespace));
            }
        });
    }

    /// Whether something of a session that is over may still be looked for; if so, that is remembered until it is known.
    fn is_looked_for(&self, finished: &Finished) -> bool {
        let looked_for = finished.completed_at().is_some_and(|completed| {
            is_looked_for(
                finished.is_lost(),
                completed,
                Timestamp::now(),
                self.context.timing(),
            )
        });
        if looked_for {
            self.context.memory.begin(&finished.uid(), |_| ());
        }
        looked_for
    }

    /// What a change of a session brings with it.
    pub(super) fn on_session(&self, change: Change<'_, CodeSession>) {
        match change {
            Change::Applied {
                object,
                before,
                own,
            } => {
                if !own {
                    let before = before.as_ref().and_then(Kept::whole);
                    self.note_end(before.map(|before| before.phase()), object);
                }
                self.note_session(object);
                let reference = ObjectRef::from_obj(object.as_ref());
                let settled = self
                    .sessions
                    .look(&reference, |kept| match kept {
                        Kept::Whole(_) => false,
                        Kept::Record(finished) => before.is_some() || !self.is_looked_for(finished),
                    })
                    .unwrap_or(false);
                let was_settled = before.as_ref().is_some_and(|kept| kept.whole().is_none());
                // Whoever stored it has acted on it, and with what is settled there is nothing left to do.
                if !own && !(settled && (was_settled || before.is_none())) {
                    self.session_queue.push(reference);
                }
                if counts_differ(before.as_ref(), object) {
                    self.look_at_agent_of(object);
                }
            }
            Change::Deleted { reference, last } => self.on_session_gone(&reference, &last),
            Change::Complete => {
                // While the list came in, passes still saw the cache of before.
                for session in self.sessions.all() {
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

    fn on_session_gone(&self, reference: &ObjectRef<CodeSession>, last: &Kept<CodeSession>) {
        let deleted = DeletedSession::of(reference, last);
        self.forget(&deleted.uid);
        let (namespace, agent) = deleted.agent.clone();
        self.agent_queue
            .push(ObjectRef::new(&agent).within(&namespace));
        self.context.orphans.record_deletion(deleted);
        if self.sessions.group(&namespace, &agent).is_empty()
            && self.sessions.records(&namespace, &agent) == 0
        {
            lock(&self.newest).remove(&(namespace.clone(), agent));
        }
        if self.sessions.is_empty(&namespace) {
            self.context.forget_namespace(&namespace);
        }
    }

    /// What a change of a CodeAgent brings with it.
    pub(super) fn on_agent(&self, change: Change<'_, CodeAgent>) {
        match change {
            Change::Applied {
                object,
                before,
                own,
            } => {
                if !own {
                    self.look_at_agent(object);
                }
                let before = before.as_ref().and_then(Kept::whole);
                if before.is_none_or(|before| matters_to_sessions(before, object)) {
                    self.wake_sessions(object);
                }
            }
            Change::Deleted { last, .. } => {
                let Some(agent) = last.whole() else { return };
                self.wake_sessions(agent);
                if let Some(uid) = agent.uid() {
                    self.forget_agent(&uid);
                }
            }
            Change::Complete => {
                for agent in self.agents.all() {
                    self.look_at_agent(&agent);
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

    /// Keeps a session as the API server has just answered a write of ours with it.
    pub(super) fn stored(&self, session: &Arc<CodeSession>) {
        let before = self
            .sessions
            .look(&ObjectRef::from_obj(session.as_ref()), |kept| {
                kept.whole().map(|before| before.phase())
            })
            .flatten();
        self.sessions.store(session);
        self.note_end(before, session);
        self.note_session(session);
        if before != Some(session.phase()) {
            self.look_at_agent_of(session);
        }
    }

    /// A session that has just ended gives back what it held: a further message of it waits for its turn as others do.
    fn note_end(&self, before: Option<SessionPhase>, session: &CodeSession) {
        let ended =
            before.is_some_and(|phase| !phase.is_terminal()) && session.phase().is_terminal();
        if let Some(uid) = session.uid().filter(|_| ended) {
            self.context.admission.forget(&uid);
        }
    }

    /// Keeps a CodeAgent as the API server has just answered a write of ours with it.
    pub(super) fn stored_agent(&self, agent: &Arc<CodeAgent>) {
        let before = self.agents.get(&ObjectRef::from_obj(agent.as_ref()));
        self.agents.store(agent);
        if before.is_none_or(|before| matters_to_sessions(&before, agent)) {
            self.wake_sessions(agent);
        }
    }

    /// The session of an agent that was launched last, also if it has finished since.
    pub(super) fn newest_launch(&self, namespace: &str, agent: &str) -> Option<Arc<CodeSession>> {
        let key = (namespace.to_owned(), agent.to_owned());
        lock(&self.newest).get(&key).cloned()
    }

    fn note_launch(&self, session: &Arc<CodeSession>) {
        let launched_at = |session: &CodeSession| {
            let status = session.status.as_ref()?;
            let record = status.launch.as_ref()?;
            let id = status.provider.as_ref()?.session_id.as_ref();
            (record.state.arrived() && id.is_some())
                .then_some(status.started_at)
                .flatten()
        };
        let Some(at) = launched_at(session) else {
            return;
        };
        let key = (
            session.namespace().unwrap_or_default(),
            session.spec.agent_ref.name.clone(),
        );
        let mut newest = lock(&self.newest);
        let known = newest.get(&key).and_then(|known| launched_at(known));
        if known.is_none_or(|known| known <= at) {
            newest.insert(key, Arc::clone(session));
        }
    }

    /// What is to be reported to the webhook of a session is reported beside its passes.
    fn note_report(&self, session: &CodeSession) {
        let (Some(uid), Some(status)) = (session.uid(), session.status.as_ref()) else {
            return;
        };
        if is_pending(&uid, &session.spec, status) {
            self.webhook_queue.push(ObjectRef::from_obj(session));
        }
    }

    /// What a session holds, waits for and owns is known to the others.
    fn note_session(&self, session: &Arc<CodeSession>) {
        self.note_launch(session);
        self.note_report(session);
        let context = &self.context;
        context
            .admission
            .observe(&self.applicant(session), context.uptime());
        context.owners.note(session);
    }

    /// The session as one that asks for slots and locks.
    pub(super) fn applicant<'a>(&'a self, session: &'a CodeSession) -> Applicant<'a> {
        Applicant {
            session,
            queue: &self.session_queue,
        }
    }

    /// Forgets a session that is gone.
    pub(super) fn forget(&self, uid: &str) {
        let context = &self.context;
        context.admission.forget(uid);
        context.poller.forget(uid);
        context.memory.forget(uid);
        context.owners.disown(uid);
    }

    /// The sessions of an agent that are not over, or have a message to send, may get further now.
    fn wake_sessions(&self, agent: &CodeAgent) {
        let namespace = agent.namespace().unwrap_or_default();
        for session in self.sessions.group(&namespace, &agent.name_any()) {
            let waits = next_message(&session.spec, session.status.as_ref()).is_some();
            if waits || !session.phase().is_terminal() {
                self.session_queue.push(ObjectRef::from_obj(&*session));
            }
        }
    }

    /// The agent of a session counts its sessions again.
    fn look_at_agent_of(&self, session: &CodeSession) {
        let namespace = session.namespace().unwrap_or_default();
        self.agent_queue
            .push(ObjectRef::new(&session.spec.agent_ref.name).within(&namespace));
    }
}

/// Whether the agent of a session has something to do with the change: its counts, its template's users, what it has seen of its
/// launches.
fn counts_differ(before: Option<&Kept<CodeSession>>, now: &CodeSession) -> bool {
    let Some(before) = before.and_then(Kept::whole) else {
        return true;
    };
    let launch = |session: &CodeSession| {
        let record = session.status.as_ref()?.launch.as_ref()?;
        Some((record.state, record.claim_id.clone()))
    };
    before.phase() != now.phase()
        || launch(before) != launch(now)
        || before.meta().deletion_timestamp.is_some() != now.meta().deletion_timestamp.is_some()
}

/// Whether sessions decide otherwise after a change of their agent: what it counts and says to people is not for them.
fn matters_to_sessions(before: &CodeAgent, now: &CodeAgent) -> bool {
    let meta = |agent: &CodeAgent| {
        let meta = agent.meta();
        (
            meta.uid.clone(),
            meta.generation,
            meta.deletion_timestamp.is_some(),
        )
    };
    let said = |agent: &CodeAgent| {
        let mut status = agent.status.clone().unwrap_or_default();
        status.sessions = None;
        status.orphans = Vec::new();
        status.models = Vec::new();
        status.capabilities = Vec::new();
        status.observed_generation = 0;
        status
    };
    meta(before) != meta(now) || said(before) != said(now)
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
