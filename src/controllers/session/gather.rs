//! What is known of a session when a decision is made: from the caches, and from a Secret where one is needed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;
use sha2::{Digest, Sha256};

use super::super::accounts::Standing;
use super::super::connection::{Linked, Obstacle, endpoint, held, link, obstacle, without};
use super::super::error::{Chain, PassError};
use super::super::memory::Remembered;
use super::super::scope::Scope;
use super::admit::{Applies, admit};
use super::{attach, salted};
use crate::api::{
    ADOPT_ANNOTATION, CodeAgent, CodeSession, Effective, FINALIZER, KeyReference,
    ORIGIN_ANNOTATION, ProviderSpec, Reason, TemplateState,
};
use crate::domain::agent::has_evidence;
use crate::domain::effective::{
    Fault, Objection, compose_prompt, objection, reference_missing, resolve,
};
use crate::domain::ids::{ClaimId, InstallationId, hex};
use crate::domain::remote::{ErrorClass, Recovery};
use crate::domain::session::{
    AgentView, Connected, Inputs, Lock, Needs, Observed, Origin, Outline, ProviderFacts, Readiness,
    SessionView, Slot, Stage, needs, template_missing,
};
use crate::domain::template::Site;
use crate::domain::timing::Timing;
use crate::providers::registry::offer;

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
                status: stored_status(object),
                older_than_process: self.older_than_process,
            },
            agent: self.agent.clone(),
            provider: self.provider.clone(),
            readiness: self.readiness.clone(),
            slot: self.slot,
            lock: self.lock.clone(),
            preflight: self.remembered.preflight.as_ref(),
            in_flight: self.remembered.in_flight,
            claim_first_seen: self.remembered.claim.as_ref().map(|(_, seen)| *seen),
            deletion_first_seen: self.remembered.deletion,
            lookups: &self.remembered.lookups,
            look: self.remembered.look.as_ref(),
            last_stop: self.remembered.last_stop,
            stop_taken: self.remembered.stop_taken,
            looked_after_end: self.remembered.looked_after_end,
            faults: self.remembered.faults,
            installation: &self.installation,
            fresh_claim_id: &self.fresh_claim_id,
            timing: &self.timing,
            stopping: self.stopping,
        }
    }
}

/// The prompt as the open launch of `object` sent it, if it can still be composed: a changed preamble or source makes another.
pub(super) fn sent_prompt(facts: &Facts, object: &CodeSession) -> Option<String> {
    let Readiness::Ready(connected) = &facts.readiness else {
        return None;
    };
    let inputs = connected.inputs.as_ref()?;
    let recorded = stored_status(object).and_then(|status| status.launch.as_ref());
    recorded
        .is_none_or(|record| record.request_digest == inputs.digest)
        .then(|| inputs.prompt.clone())
}

/// The status, unless it is only the default that the API server shows for a new object.
fn stored_status(object: &CodeSession) -> Option<&crate::api::CodeSessionStatus> {
    object
        .status
        .as_ref()
        .filter(|status| status.observed_generation >= 0)
}

/// Gathers what a decision about `object` needs; reads nothing that it does not need.
pub(super) async fn gather(scope: &Arc<Scope>, object: &CodeSession) -> Result<Facts, PassError> {
    let context = &scope.context;
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let uptime = context.uptime();
    let remembered = remember_claim(scope, object, &uid, uptime);
    let agent = scope
        .agents
        .get(&ObjectRef::new(&object.spec.agent_ref.name).within(&namespace))
        // One that is held until its template is gone starts nothing any more.
        .filter(|agent| agent.metadata.deletion_timestamp.is_none());
    let namespace_uid = namespace_uid(scope, object, &namespace).await?;

    let status = stored_status(object);
    let recorded = status.and_then(|status| status.effective.as_ref());
    let launched = Stage::of(status).claimed().is_some();
    // Once claimed, only what was recorded counts.
    let spec: Option<ProviderSpec> = match (launched, recorded, &agent) {
        (true, Some(effective), _) => Some(pinned(effective, object)),
        (_, _, Some(agent)) => Some(agent.spec.provider.clone()),
        (_, Some(effective), None) => Some(effective.provider.spec.clone()),
        (_, None, None) => None,
    };
    let secret: Option<KeyReference> = match (launched, recorded, &agent) {
        (true, Some(effective), _) | (false, Some(effective), None) => {
            Some(effective.credentials_ref.clone())
        }
        (_, _, Some(agent)) => {
            let secret =
                &crate::domain::effective::credentials(&object.spec, &agent.spec).secret_ref;
            Some(KeyReference {
                name: secret.name.clone(),
                key: secret.key.clone(),
            })
        }
        (_, None, None) => None,
    };
    let facts = spec.as_ref().and_then(|spec| context.facts(spec));
    let need = needs(&Outline {
        spec: &object.spec,
        status,
        provider: facts.as_ref(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        has_finalizer: has_finalizer(object),
        adopt: object.annotations().contains_key(ADOPT_ANNOTATION),
        in_flight: remembered.in_flight,
        looked_at: remembered
            .looked_after_end
            .map(|begun| Timestamp::now() - uptime.saturating_sub(begun)),
        now: Timestamp::now(),
        timing: context.timing(),
    });
    let linked = match (need, &spec, &secret) {
        (Needs::Nothing, _, _) => None,
        (_, Some(spec), Some(secret)) => {
            // Before the launch the Secret decides; a session that is active keeps its connection.
            let kept = remembered.attached.as_ref().filter(|_| launched);
            let trusted =
                kept.filter(|kept| need == Needs::Connection && !doubted(scope, &remembered, kept));
            Some(match trusted {
                Some(kept) => Ok(kept.clone()),
                None => connect(scope, &namespace, &uid, spec, secret, kept, launched).await,
            })
        }
        _ => None,
    };
    let mut agent_view = match &agent {
        None => AgentView::Missing,
        Some(agent) => view_agent(
            scope,
            object,
            agent,
            linked.as_ref().and_then(|linked| linked.as_ref().ok()),
        ),
    };
    let inputs = match need {
        // Without its CodeAgent a prompt has no preamble: it would be another one.
        Needs::Launch => match &agent {
            Some(agent) => {
                let linked = linked.as_ref().and_then(|linked| linked.as_ref().ok());
                Some(inputs(scope, object, agent, linked, &namespace, &uid).await)
            }
            None => None,
        },
        Needs::Nothing | Needs::Connection => None,
    };
    let (inputs, blocked) = match inputs {
        Some(Ok(inputs)) => (Some(inputs), None),
        Some(Err(Missing::Objection(found))) => {
            if let AgentView::Present { objection, .. } = &mut agent_view
                && objection.is_none()
            {
                *objection = Some(found);
            }
            (None, None)
        }
        Some(Err(Missing::Source(obstacle))) => (None, Some(obstacle)),
        None => (None, None),
    };
    if let (false, Needs::Launch, Some(Ok(linked)), Some(agent)) = (launched, need, &linked, &agent)
    {
        let generation = agent.metadata.generation.unwrap_or_default();
        let tag = format!("{}/{generation}", agent.uid().unwrap_or_default());
        context.accounts.note_agent(&linked.key, tag);
    }
    let (readiness, linked) = readiness(
        scope,
        &uid,
        linked,
        secret.as_ref(),
        inputs,
        blocked.filter(|_| !launched),
        launched,
    );
    let lacks_template = match (&readiness, &facts) {
        (Readiness::Ready(connected), Some(facts)) => template_missing(facts, connected),
        _ => false,
    };
    if let (true, Some(agent)) = (lacks_template && !launched, &agent) {
        // It keeps the template, and may not know yet that the key is another account's now.
        scope.look_at_agent(agent);
    }
    let able = matches!(&readiness, Readiness::Ready(_))
        && !lacks_template
        && matches!(
            &agent_view,
            AgentView::Present {
                suspended: false,
                objection: None,
                ..
            }
        );
    let (slot, lock) = match need {
        Needs::Launch => admit(
            scope,
            object,
            &Applies {
                agent: agent.as_deref(),
                view: &agent_view,
                issue_tells: facts
                    .as_ref()
                    .is_some_and(|facts| facts.recovery == Recovery::None),
                able,
            },
        ),
        Needs::Nothing | Needs::Connection => {
            context.admission.withdraw(&uid);
            (Slot::Free, Lock::Unneeded)
        }
    };
    Ok(Facts {
        now: Timestamp::now(),
        uptime: context.uptime(),
        namespace,
        name: object.name_any(),
        namespace_uid,
        created_at: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        older_than_process: object
            .metadata
            .creation_timestamp
            .as_ref()
            .is_some_and(|created| created.0 < context.started_at())
            || context.owners.owns_any(&uid),
        agent: agent_view,
        provider: facts,
        readiness,
        slot,
        lock,
        remembered: context.memory.of(&uid),
        linked,
        installation: context.installation.clone(),
        fresh_claim_id: ClaimId::new(uuid::Uuid::new_v4().simple().to_string()),
        timing: context.timing().clone(),
        stopping: !context.may_begin(),
        uid,
    })
}

/// The uid of the session's namespace, which is part of the keys of its launches. Without it nothing is launched, but what was
/// launched is followed and stopped: its key is recorded.
async fn namespace_uid(
    scope: &Scope,
    object: &CodeSession,
    namespace: &str,
) -> Result<Option<String>, PassError> {
    let launched = Stage::of(stored_status(object)).claimed().is_some();
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

/// The settings that a launch was claimed with: what the CodeAgent, this installation or this version of the operator would
/// use now is another place, where absence and loss prove nothing (rule 4).
fn pinned(effective: &Effective, object: &CodeSession) -> ProviderSpec {
    let target = stored_status(object)
        .and_then(|status| status.launch.as_ref())
        .map(|record| &record.target);
    let spec = effective.provider.spec.clone();
    match target {
        Some(target) if !target.endpoint.is_empty() => {
            spec.pinned(&target.endpoint, &target.api_version)
        }
        Some(_) | None => spec,
    }
}

/// Remembers when the current claim, and the deletion, was first seen; another claim makes what was seen of the last one void.
fn remember_claim(scope: &Scope, object: &CodeSession, uid: &str, uptime: Duration) -> Remembered {
    let claim = stored_status(object)
        .and_then(|status| status.launch.as_ref())
        .map(|record| ClaimId::new(record.claim_id.clone()));
    scope.context.memory.begin(uid, |remembered| {
        if remembered
            .claim
            .as_ref()
            .is_none_or(|(seen, _)| *seen != claim)
        {
            remembered.claim = Some((claim, uptime));
            remembered.lookups = Default::default();
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

/// Whether the credential that a session has used so far may not be the right one any more.
fn doubted(scope: &Scope, remembered: &Remembered, kept: &Linked) -> bool {
    let by_look = remembered.look.as_ref().is_some_and(|look| {
        look.result.as_ref().is_err_and(|error| {
            matches!(
                error.class,
                ErrorClass::Unauthorized | ErrorClass::Forbidden | ErrorClass::NotFound
            )
        })
    });
    let standing = scope.context.accounts.standing(&kept.key);
    by_look || matches!(standing, Some(Standing::Refused { .. }))
}

/// Connects with what the Secret holds now, or else with what was `kept` since the launch.
async fn connect(
    scope: &Scope,
    namespace: &str,
    uid: &str,
    spec: &ProviderSpec,
    secret: &KeyReference,
    kept: Option<&Linked>,
    launched: bool,
) -> Result<Linked, Obstacle> {
    let context = &scope.context;
    let Some(provider) = context.provider(spec) else {
        return Err(Obstacle {
            objection: Objection {
                reason: Reason::ProviderDisabled,
                message: "this installation of the operator does not run this provider".to_owned(),
                fault: Fault::Surroundings,
            },
            passing: false,
            again: context.timing().fault_wait_max,
        });
    };
    match link(context, namespace, provider, spec, secret).await {
        Ok(linked) => {
            attach(scope, uid, linked.clone());
            Ok(linked)
        }
        // A Secret that is gone does not end a session that runs: its credential is kept until the session is over.
        Err(obstacle) => kept
            .cloned()
            .ok_or_else(|| unreachable(obstacle, spec.endpoint().filter(|_| launched))),
    }
}

/// What stands in the way of the endpoint that a session was launched at: it is told that this one is meant, since the
/// CodeAgent may name another one by now.
fn unreachable(mut obstacle: Obstacle, launched_at: Option<&str>) -> Obstacle {
    let about_endpoint = matches!(
        obstacle.objection.reason,
        Reason::EndpointNotAllowed | Reason::InsecureEndpoint
    );
    if let (true, Some(endpoint)) = (about_endpoint, launched_at) {
        obstacle.objection.message = format!(
            "it was launched at {endpoint}, which cannot be used any more, and it is not looked for anywhere else: {}",
            obstacle.objection.message
        );
    }
    obstacle
}

fn view_agent(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: Option<&Linked>,
) -> AgentView {
    let context = &scope.context;
    let generation = agent.metadata.generation.unwrap_or(0);
    let Some(provider) = context.provider(&agent.spec.provider) else {
        let effective = resolve(
            &object.name_any(),
            &object.spec,
            &agent.spec,
            generation,
            "",
        );
        return AgentView::Present {
            generation,
            suspended: agent.spec.suspend,
            effective: Box::new(effective),
            objection: None,
            evidence_seen: false,
        };
    };
    let endpoint = endpoint(context, provider, &agent.spec.provider);
    let effective = resolve(
        &object.name_any(),
        &object.spec,
        &agent.spec,
        generation,
        &endpoint,
    );
    let objection = objection(
        &object.spec,
        &agent.spec,
        &effective,
        &offer(provider, &agent.spec.provider),
        &context.offers,
    )
    .or_else(|| {
        let needed = provider.needs_reference().then_some(());
        needed.and_then(|()| {
            reference_missing(&object.spec, &effective, provider.kind().display_name())
        })
    })
    .or_else(|| template_elsewhere(scope, object, agent, linked?));
    let account = linked.and_then(|linked| context.accounts.last_account(&linked.key));
    let evidence_seen = agent
        .status
        .as_ref()
        .zip(account)
        .is_some_and(|(status, account)| {
            let recovery = provider.recovery(&agent.spec.provider);
            has_evidence(status, recovery, &endpoint, account.fingerprint.as_str())
        });
    AgentView::Present {
        generation,
        suspended: agent.spec.suspend,
        effective: Box::new(effective),
        objection,
        evidence_seen,
    }
}

enum Missing {
    Objection(Objection),
    Source(Obstacle),
}

/// What a launch sends.
async fn inputs(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: Option<&Linked>,
    namespace: &str,
    uid: &str,
) -> Result<Inputs, Missing> {
    let context = &scope.context;
    let spec = &object.spec;
    let text = match (&spec.prompt, &spec.prompt_from) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(source)) => context
            .sources
            .text(namespace, source)
            .await
            .map_err(|missing| Missing::Source(without(missing, "the prompt's source")))?
            .to_string(),
        // An issue needs no words of ours.
        (None, None) => String::new(),
    };
    let attempt = stored_status(object)
        .and_then(|status| status.launch.as_ref())
        .map_or(1, |record| record.attempt);
    let preamble = agent.spec.preamble.as_deref();
    let of_prompt = match spec.prompt {
        Some(_) => Fault::Session,
        None => Fault::Surroundings,
    };
    let prompt = compose_prompt(
        preamble,
        &text,
        of_prompt,
        &context.installation,
        uid,
        attempt,
    )
    .map_err(|objection| match objection.fault {
        Fault::Session => Missing::Objection(objection),
        // A source is not watched, so that a mended one is seen only by whoever looks.
        Fault::Surroundings => Missing::Source(Obstacle {
            objection,
            passing: false,
            again: context.timing().recheck,
        }),
    })?;
    let digest = hex(&Sha256::digest(prompt.as_bytes()), 16);
    Ok(Inputs {
        prompt,
        digest,
        template_id: linked.and_then(|linked| template_id(scope, agent, linked)),
    })
}

/// The CodeAgent's template, if it is ready for the account that would launch.
fn template_id(scope: &Scope, agent: &CodeAgent, linked: &Linked) -> Option<String> {
    let context = &scope.context;
    let provider = context.provider(&agent.spec.provider)?;
    let account = context.accounts.last_account(&linked.key)?;
    let site = Site {
        endpoint: endpoint(context, provider, &agent.spec.provider),
        account: account.fingerprint.as_str().to_owned(),
    };
    let record = agent.status.as_ref()?.template.as_ref()?;
    match record.state {
        TemplateState::Ready if site.has(record) => record.id.clone(),
        TemplateState::Ready | TemplateState::Claimed => None,
    }
}

/// What speaks against a session's own credentials where sessions are launched from the CodeAgent's template: another account
/// does not have it.
fn template_elsewhere(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: &Linked,
) -> Option<Objection> {
    let own = object.spec.credentials.as_ref()?;
    let record = agent.status.as_ref()?.template.as_ref()?;
    let account = scope.context.accounts.last_account(&linked.key)?;
    let elsewhere = own != &agent.spec.credentials
        && record.state == TemplateState::Ready
        && record.account != account.fingerprint.as_str();
    elsewhere.then(|| Objection {
        reason: Reason::CapabilityMissing,
        message: "spec.credentials of the session belong to another account than the CodeAgent's, which has the template that sessions are launched from: remove them, or use a CodeAgent with these credentials".to_owned(),
        fault: Fault::Surroundings,
    })
}

/// What keeps every launch with this key back: the provider wants no requests, or refuses them for the account's sake.
fn launches_held(scope: &Scope, linked: &Linked, uid: &str) -> Option<Obstacle> {
    let context = &scope.context;
    if let Some(pause) = linked.lanes.silent_for() {
        return Some(Obstacle {
            objection: Objection {
                reason: Reason::RateLimited,
                message: "waits, the provider wants no requests with this key for now".to_owned(),
                fault: Fault::Surroundings,
            },
            passing: true,
            again: pause,
        });
    }
    let hold = context.accounts.held(&linked.key)?;
    (!context.accounts.may_probe(&linked.key, uid)).then(|| Obstacle {
        objection: held(&hold),
        passing: false,
        again: hold.again.min(context.timing().fault_wait_max),
    })
}

fn readiness(
    scope: &Scope,
    uid: &str,
    linked: Option<Result<Linked, Obstacle>>,
    secret: Option<&KeyReference>,
    inputs: Option<Inputs>,
    blocked: Option<Obstacle>,
    launched: bool,
) -> (Readiness, Option<Linked>) {
    let block = |obstacle: Obstacle| Readiness::Blocked {
        objection: obstacle.objection,
        passing: obstacle.passing,
        again: obstacle.again,
    };
    let linked = match linked {
        None => return (Readiness::NotGathered, None),
        Some(Err(obstacle)) => return (block(obstacle), None),
        Some(Ok(linked)) => linked,
    };
    if let Some(obstacle) = blocked {
        return (block(obstacle), Some(linked));
    }
    let accounts = &scope.context.accounts;
    if let Some(obstacle) = launches_held(scope, &linked, uid).filter(|_| !launched) {
        return (block(obstacle), Some(linked));
    }
    let standing = accounts.standing(&linked.key);
    let account = match &standing {
        Some(Standing::Accepted(account)) => Some(account.clone()),
        // What was launched is followed through outages; its calls tell for themselves.
        Some(Standing::Unreachable { .. }) | None if launched => accounts.last_account(&linked.key),
        Some(Standing::Refused { .. } | Standing::Unreachable { .. }) | None => None,
    };
    let readiness = match (account, standing) {
        (Some(account), _) => Readiness::Ready(Connected {
            account: account.fingerprint,
            verified: match accounts.standing(&linked.key) {
                Some(Standing::Accepted(_)) => accounts
                    .age(&linked.key)
                    .map(|age| scope.context.uptime().saturating_sub(age)),
                Some(Standing::Refused { .. } | Standing::Unreachable { .. }) | None => None,
            },
            credential: salted(uid, &linked.credential),
            inputs,
        }),
        (None, None) => Readiness::Unverified,
        (None, Some(standing)) => {
            let secret = secret.map_or("", |secret| secret.name.as_str());
            match obstacle(&standing, secret) {
                Some(mut obstacle) => {
                    // A mended key is another key: the Secret is read again long before the provider is asked again.
                    if !obstacle.passing {
                        obstacle.again = obstacle.again.min(scope.context.timing().recheck);
                    }
                    block(obstacle)
                }
                None => Readiness::Unverified,
            }
        }
    };
    (readiness, Some(linked))
}
