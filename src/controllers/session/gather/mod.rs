//! What is known of a session when a decision is made: from the caches, and from a Secret where one is needed.

mod agent;
mod credentials;
mod inputs;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use self::agent::view_agent;
use self::credentials::{connect, doubted, launches_held, readiness};
use self::inputs::{InputsError, Payload, inputs, message_inputs};
use super::super::connection::links::Linked;
use super::super::connection::recorded_target;
use super::super::error::{Chain, PassError};
use super::super::images::HeldImages;
use super::super::memory::Remembered;
use super::super::scope::Scope;
use super::admit::{Applies, admit};
use crate::api::{
    ADOPT_ANNOTATION, CodeAgent, CodeSession, Effective, FINALIZER, KeyReference,
    ORIGIN_ANNOTATION, ProviderSpec,
};
use crate::domain::blocker::NotReady;
use crate::domain::effective::credentials as credentials_of;
use crate::domain::environment::Environment;
use crate::domain::ids::{ClaimId, InstallationId};
use crate::domain::remote::Recovery;
use crate::domain::session::{
    AgentView, Inputs, Lock, Needs, Observed, Origin, Outline, ProviderFacts, Readiness,
    SessionView, Slot, Stage, may_send, needs, newest_send, template_missing, wall_clock,
};
use crate::domain::timing::Timing;

/// Everything that was gathered, owned.
pub(super) struct Facts {
    pub now: Timestamp,
    pub uptime: Duration,
    pub uid: String,
    namespace: String,
    name: String,
    namespace_uid: Option<String>,
    created_at: Timestamp,
    older_than_process: bool,
    agent: AgentView,
    pub provider: Option<ProviderFacts>,
    readiness: Readiness,
    /// What a launch or a message sends, where one is in sight.
    payload: Option<Payload>,
    slot: Slot,
    lock: Lock,
    pub remembered: Remembered,
    pub linked: Option<Linked>,
    installation: InstallationId,
    fresh_claim_id: ClaimId,
    timing: Timing,
    stopping: bool,
}

impl Facts {
    /// The facts as a decision about `object` sees them: of an object that was read anew since they were gathered, everything that it
    /// says itself is new.
    pub fn observed<'a>(&'a self, object: &'a CodeSession) -> Observed<'a> {
        Observed {
            now: self.now,
            uptime: self.uptime,
            session: SessionView {
                namespace: &self.namespace,
                name: &self.name,
                uid: &self.uid,
                namespace_uid: self.namespace_uid.as_deref(),
                generation: object.metadata.generation.unwrap_or(0),
                created_at: self.created_at,
                deleting: object
                    .metadata
                    .deletion_timestamp
                    .as_ref()
                    .map(|time| time.0),
                has_finalizer: has_finalizer(object),
                origin: origin(object, &self.uid),
                adopt: object
                    .annotations()
                    .get(ADOPT_ANNOTATION)
                    .map(String::as_str),
                spec: &object.spec,
                status: object.stored_status(),
                older_than_process: self.older_than_process,
            },
            agent: self.agent.clone(),
            provider: self.provider.clone(),
            readiness: self.readiness.clone(),
            slot: self.slot.clone(),
            lock: self.lock.clone(),
            baseline_read: self.remembered.baseline_read.as_ref(),
            in_flight: self.remembered.in_flight,
            claim_first_seen: self.remembered.claim.as_ref().map(|(_, seen)| *seen),
            deletion_first_seen: self.remembered.deletion,
            lookups: &self.remembered.lookups,
            poll: self.remembered.poll.as_ref(),
            last_stop: self.remembered.last_stop,
            stop_taken: self.remembered.stop_taken,
            polled_after_end: self.remembered.polled_after_end,
            faults: self.remembered.faults,
            installation: &self.installation,
            fresh_claim_id: &self.fresh_claim_id,
            timing: &self.timing,
            stopping: self.stopping,
        }
    }
}

/// What is sent, in full.
pub(super) struct Content {
    /// Preamble, prompt and marker line.
    pub prompt: String,
    /// The images beside it.
    pub images: HeldImages,
    /// The environment variables of the hosted agent.
    pub environment: Environment,
}

impl Facts {
    /// What a launch or a message sends, to be sent now. `None` if it is not what was decided on any more, or cannot be read: then
    /// nothing may be claimed.
    pub async fn content(&self, scope: &Scope) -> Option<Content> {
        let payload = self.payload.as_ref()?;
        Some(Content {
            prompt: payload.prompt.clone(),
            images: payload.read_images(scope, &self.namespace).await?,
            environment: payload.read_environment(scope, &self.namespace).await?,
        })
    }
}

/// The prompt as the open request of `object` sent it, if it can still be composed: a changed preamble or source makes another.
pub(super) fn sent_prompt(facts: &Facts, object: &CodeSession) -> Option<String> {
    let Readiness::Ready(connected) = &facts.readiness else {
        return None;
    };
    let inputs = connected.inputs.as_ref()?;
    let payload = facts.payload.as_ref()?;
    let recorded = newest_send(object.stored_status());
    recorded
        .is_none_or(|record| record.request_digest == inputs.digest)
        .then(|| payload.prompt.clone())
}

/// Gathers what a decision about `object` needs; reads nothing that it does not need.
pub(super) async fn gather(scope: &Arc<Scope>, object: &CodeSession) -> Result<Facts, PassError> {
    let context = &scope.context;
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let remembered = remember_claim(scope, object, &uid, context.uptime());
    let agent = agent_of(scope, object, &namespace);
    let namespace_uid = namespace_uid(scope, object, &namespace).await?;
    let launched = Stage::of(object.stored_status()).claimed().is_some();
    let (spec, secret) = settings(object, agent.as_deref(), launched);
    let facts = spec.as_ref().and_then(|spec| context.facts(spec));
    let need = needs_of(scope, object, facts.as_ref(), &remembered);
    let target = spec.as_ref().map(|spec| (spec, secret.as_ref()));
    let linked = connection(scope, object, &remembered, target, need, launched).await;
    let usable = linked.as_ref().and_then(|linked| linked.as_ref().ok());
    let mut agent_view = match &agent {
        None => AgentView::Missing,
        Some(agent) => view_agent(scope, object, agent, usable, facts.as_ref()),
    };
    let (inputs, payload, blocked) = match (need, &agent) {
        (Needs::Launch, Some(agent)) => {
            let found = inputs(scope, object, agent, usable, &namespace, &uid).await;
            sorted(found, &mut agent_view)
        }
        (Needs::Message, _) => {
            match message_inputs(scope, object, spec.as_ref(), &namespace, &uid).await {
                Some(found) => sorted(found.map_err(InputsError::Source), &mut agent_view),
                None => (None, None, None),
            }
        }
        // Without its CodeAgent a prompt has no preamble: it would be another one.
        (Needs::Launch, None) | (Needs::Nothing | Needs::Connection, _) => (None, None, None),
    };
    let sends = sends_anew(object, need, launched);
    if let (false, Needs::Launch, Some(linked), Some(agent)) = (launched, need, usable, &agent) {
        note_agent(scope, linked, agent);
    }
    let follows = launched && !sends;
    let blocked = match follows {
        true => None,
        false => blocked.or_else(|| launches_held(scope, usable?, &agent_view, &uid)),
    };
    let key = secret.as_ref();
    let (readiness, linked) = readiness(scope, &uid, linked, key, inputs, blocked, follows);
    let lacks_template =
        need == Needs::Launch && !launched && lacks_template(&readiness, facts.as_ref());
    if let (true, Some(agent)) = (lacks_template, &agent) {
        // It keeps the template, and may not know yet that the key is another account's now.
        scope.look_at_agent(agent);
    }
    let gathered = Facts {
        now: Timestamp::now(),
        uptime: context.uptime(),
        namespace,
        name: object.name_any(),
        namespace_uid,
        created_at: object.created_at(),
        older_than_process: object.created_at() < context.started_at()
            || context.owners.owns_any(&uid),
        agent: agent_view,
        provider: facts,
        readiness,
        payload,
        slot: Slot::Free,
        lock: Lock::Unneeded,
        remembered: context.memory.of(&uid),
        linked,
        installation: context.installation.clone(),
        fresh_claim_id: ClaimId::new(uuid::Uuid::new_v4().simple().to_string()),
        timing: context.timing().clone(),
        stopping: !context.may_begin(),
        uid,
    };
    let (slot, lock) = admission(scope, object, agent.as_deref(), need, &gathered);
    Ok(Facts {
        slot,
        lock,
        ..gathered
    })
}

/// The slot and the lock that a launch or a message in sight asks for. A session with neither in sight, or that something else keeps
/// from sending it, asks for none: it must not hold what another could use.
fn admission(
    scope: &Scope,
    object: &CodeSession,
    agent: Option<&CodeAgent>,
    need: Needs,
    gathered: &Facts,
) -> (Slot, Lock) {
    let account = gathered.readiness.connected();
    let applies = |effective, issue_tells| Applies {
        agent,
        effective,
        account: account.map(|connected| &connected.account),
        issue_tells,
        able: may_send(&gathered.observed(object), need),
    };
    match need {
        Needs::Launch => {
            let recovery = gathered.provider.as_ref().map(|facts| facts.recovery);
            let effective = effective_of(&gathered.agent);
            admit(
                scope,
                object,
                &applies(effective, recovery == Some(Recovery::None)),
            )
        }
        Needs::Message => {
            let status = object.stored_status();
            let recorded = status.and_then(|status| status.effective.as_ref());
            admit(scope, object, &applies(recorded, false))
        }
        Needs::Nothing | Needs::Connection => {
            scope.context.admission.withdraw(&gathered.uid);
            (Slot::Free, Lock::Unneeded)
        }
    }
}

fn effective_of(agent: &AgentView) -> Option<&Effective> {
    match agent {
        AgentView::Present { effective, .. } => Some(effective),
        AgentView::Missing => None,
    }
}

fn lacks_template(readiness: &Readiness, facts: Option<&ProviderFacts>) -> bool {
    match (readiness, facts) {
        (Readiness::Ready(connected), Some(facts)) => template_missing(facts, connected),
        _ => false,
    }
}

/// The connection of a session, if it needs one: before the launch the Secret decides, and a session that is `launched` keeps the one
/// it has, unless something paid is to be sent or its credential is doubted.
async fn connection(
    scope: &Scope,
    object: &CodeSession,
    remembered: &Remembered,
    target: Option<(&ProviderSpec, Option<&KeyReference>)>,
    need: Needs,
    launched: bool,
) -> Option<Result<Linked, NotReady>> {
    let (spec, secret) = target?;
    let kept = remembered.attached.as_ref().filter(|_| launched);
    let keeps = match need {
        Needs::Nothing => return None,
        Needs::Launch | Needs::Message => None,
        Needs::Connection => kept.filter(|kept| !doubted(scope, remembered, kept)),
    };
    if let Some(kept) = keeps {
        return Some(Ok(kept.clone()));
    }
    let namespace = object.namespace().unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    Some(connect(scope, &namespace, &uid, spec, secret, kept, launched).await)
}

/// Remembers which CodeAgent, in which generation, launches with a key: a key that is held is tried again when that changes.
fn note_agent(scope: &Scope, linked: &Linked, agent: &CodeAgent) {
    let generation = agent.metadata.generation.unwrap_or_default();
    let tag = format!("{}/{generation}", agent.uid().unwrap_or_default());
    scope.context.accounts.note_agent(&linked.key, tag);
}

/// The CodeAgent of a session. One that is held until its template is gone starts nothing any more.
fn agent_of(scope: &Scope, object: &CodeSession, namespace: &str) -> Option<Arc<CodeAgent>> {
    let reference = ObjectRef::new(&object.spec.agent_ref.name).within(namespace);
    let agent = scope.agents.get(&reference);
    agent.filter(|agent| agent.metadata.deletion_timestamp.is_none())
}

/// Provider and Secret of a session. Once it is claimed, only what was recorded counts.
fn settings(
    object: &CodeSession,
    agent: Option<&CodeAgent>,
    launched: bool,
) -> (Option<ProviderSpec>, Option<KeyReference>) {
    if let Some((spec, secret)) = recorded_target(object).filter(|_| launched) {
        return (Some(spec), secret);
    }
    let recorded = object
        .stored_status()
        .and_then(|status| status.effective.as_ref());
    match (recorded, agent) {
        (_, Some(agent)) => {
            let secret = credentials_of(&object.spec, &agent.spec);
            let secret = secret.map(|found| (&found.secret_ref).into());
            (Some(agent.spec.provider.clone()), secret)
        }
        (Some(effective), None) => (
            Some(effective.provider.spec.clone()),
            effective.credentials_ref.clone(),
        ),
        (None, None) => (None, None),
    }
}

fn needs_of(
    scope: &Scope,
    object: &CodeSession,
    provider: Option<&ProviderFacts>,
    remembered: &Remembered,
) -> Needs {
    let (context, now) = (&scope.context, Timestamp::now());
    needs(&Outline {
        spec: &object.spec,
        status: object.stored_status(),
        provider,
        deleting: object.metadata.deletion_timestamp.is_some(),
        has_finalizer: has_finalizer(object),
        adopt: object.annotations().contains_key(ADOPT_ANNOTATION),
        in_flight: remembered.in_flight,
        looked_at: remembered
            .polled_after_end
            .map(|begun| wall_clock(now, context.uptime(), begun)),
        now,
        timing: context.timing(),
    })
}

/// What is found of a launch's inputs: themselves, or what stands in their way. What is wrong in the session itself blocks its
/// settings.
fn sorted(
    found: Result<(Inputs, Payload), InputsError>,
    agent: &mut AgentView,
) -> (Option<Inputs>, Option<Payload>, Option<NotReady>) {
    match found {
        Ok((inputs, payload)) => (Some(inputs), Some(payload), None),
        Err(InputsError::Blocker(found)) => {
            if let AgentView::Present { blocker, .. } = agent
                && blocker.is_none()
            {
                *blocker = Some(found);
            }
            (None, None, None)
        }
        Err(InputsError::Source(not_ready)) => (None, None, Some(not_ready)),
    }
}

/// Whether something paid is about to be sent that nobody may have: then every obstacle counts.
fn sends_anew(object: &CodeSession, need: Needs, launched: bool) -> bool {
    match need {
        Needs::Launch => !launched,
        Needs::Message => !matches!(Stage::of(object.stored_status()), Stage::Open(_)),
        Needs::Nothing | Needs::Connection => false,
    }
}

/// The uid of the session's namespace, which is part of the keys of its launches. Without it nothing is launched, but what was
/// launched is followed and stopped: its key is recorded.
async fn namespace_uid(
    scope: &Scope,
    object: &CodeSession,
    namespace: &str,
) -> Result<Option<String>, PassError> {
    let launched = Stage::of(object.stored_status()).claimed().is_some();
    match scope.context.namespace_uid(namespace).await {
        Ok(uid) => Ok(uid),
        Err(error) if launched || object.metadata.deletion_timestamp.is_some() => {
            tracing::warn!(error = %Chain(&error), "the namespace of the session cannot be read; it goes on without");
            Ok(None)
        }
        Err(source) => Err(PassError::Read {
            what: "the namespace of the session",
            source,
        }),
    }
}

/// Remembers when the current claim, and the deletion, was first seen; another claim makes what was seen of the last one void.
fn remember_claim(scope: &Scope, object: &CodeSession, uid: &str, uptime: Duration) -> Remembered {
    let claim =
        newest_send(object.stored_status()).map(|record| ClaimId::new(record.claim_id.clone()));
    scope.context.memory.begin(uid, |remembered| {
        if remembered
            .claim
            .as_ref()
            .is_none_or(|(seen, _)| *seen != claim)
        {
            remembered.claim = Some((claim, uptime));
            remembered.lookups = Default::default();
            // What was seen of the message before says nothing of this one.
            remembered.poll = None;
            remembered.baseline_read = None;
            remembered.last_stop = None;
            remembered.stop_taken = false;
        }
        if object.metadata.deletion_timestamp.is_some() {
            remembered.deletion.get_or_insert(uptime);
        }
        remembered.clone()
    })
}

fn has_finalizer(object: &CodeSession) -> bool {
    object
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
}

fn origin(object: &CodeSession, uid: &str) -> Origin {
    let Some(origin) = object.annotations().get(ORIGIN_ANNOTATION) else {
        return Origin::None;
    };
    let here = format!(
        "{}/{}/",
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    match origin.strip_prefix(&here) {
        Some(own) if own == uid => Origin::Own,
        Some(_) => Origin::Copy,
        None => Origin::None,
    }
}
