//! Before the launch: what keeps a session waiting, and the claim that ends the waiting.

use jiff::SignedDuration;

use super::super::effective::{Fault, Objection};
use super::super::ids::LaunchKey;
use super::super::remote::{Capability, Recovery};
use super::super::status::Draft;
use super::observed::{
    AgentView, Connected, Inputs, Observed, Origin, Place, ProviderFacts, Readiness, Turn, keys,
};
use super::plan::{Effect, Guard, LaunchPlan, LookupPlan, Note, Plan, StatusWrite};
use super::preflight::{self, Standing};
use super::{IF_FOUND, earlier_attempt_open, record};
use crate::api::{
    ConditionStatus, DesiredState, Effective, ProviderStatus, QueueStatus, Reason, SendRecord,
    SendState, SendTarget, SessionCondition, SessionPhase,
};

/// How far before the claim a session of ours may seem to have been created: clocks differ.
pub(in crate::domain) const CREATED_BEFORE: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn decide(o: &Observed<'_>) -> Plan {
    if o.session.deleting.is_some() {
        let mut plan = Plan::act(Effect::ReleaseFinalizer);
        if earlier_attempt_open(o) {
            plan.notes.push(Note::warning(
                Reason::LaunchOutcomeUnknown,
                "deleted without knowing whether its first launch had arrived: a session may be running at the provider",
            ));
        }
        return plan;
    }
    match o.session.spec.desired_state {
        DesiredState::Cancelled => {
            return never_launched(
                o,
                Reason::CancelledBeforeLaunch,
                "cancelled before it was launched",
            );
        }
        DesiredState::Archived => {
            return never_launched(
                o,
                Reason::ArchivedBeforeLaunch,
                "archived before it was launched",
            );
        }
        DesiredState::Running | DesiredState::Suspended => {}
    }
    if o.session.origin == Origin::Copy {
        return stalled(
            o,
            Reason::RestoredCopy,
            "this object is a restored copy of a session that was already launched: remove the annotation codeagents.dev/origin to run it again, as a new paid session",
        );
    }
    if o.session.spec.desired_state == DesiredState::Suspended {
        let mut draft = draft(o);
        draft.settled(
            Reason::Suspended,
            "suspended: set spec.desiredState to Running to launch it",
        );
        return Plan::store(o, draft.finish());
    }
    let AgentView::Present {
        generation,
        suspended,
        effective,
        objection,
        evidence_seen,
    } = &o.agent
    else {
        let agent = &o.session.spec.agent_ref.name;
        return stalled(
            o,
            Reason::AgentNotFound,
            &format!(
                "there is no CodeAgent {agent} in namespace {}: create it",
                o.session.namespace
            ),
        );
    };
    let Some(provider) = &o.provider else {
        return stalled(
            o,
            Reason::ProviderDisabled,
            "this installation of the operator does not run the CodeAgent's provider: enable it (--providers) or use another CodeAgent",
        );
    };
    if let Some(objection) = objection {
        return refuse(o, objection);
    }
    if *suspended {
        return waiting(
            o,
            Reason::AgentSuspended,
            "waits: the CodeAgent is suspended (spec.suspend)",
        );
    }
    let connected = match &o.readiness {
        Readiness::NotGathered => return Plan::wait(o.timing.fault_wait_min),
        Readiness::Unverified if o.stopping => return Plan::nothing(),
        Readiness::Unverified => return Plan::act(Effect::VerifyCredentials),
        Readiness::Blocked {
            objection,
            passing,
            again,
        } => {
            let plan = if *passing {
                waiting(o, objection.reason, &objection.message)
            } else {
                refuse(o, objection)
            };
            return plan.again(*again);
        }
        Readiness::Ready(connected) => connected,
    };
    if template_missing(provider, connected) {
        return waiting(
            o,
            Reason::WaitingForTemplate,
            "waits for the template that sessions are launched from: the conditions of the CodeAgent tell how it stands",
        );
    }
    if let Some(hold) = held_by_refusal(o, connected, *generation) {
        return hold;
    }
    if let Place::Taken { position } = o.place {
        return queued(o, position);
    }
    if let Turn::Taken { by } = &o.turn {
        let message = format!(
            "waits for {by}, whose launch on the same issue is open: the provider's issue could not tell two of them apart"
        );
        return waiting(o, Reason::WaitingForIssue, &message).again(o.timing.recheck);
    }
    if o.stopping {
        return Plan::nothing();
    }
    if !o.session.has_finalizer || o.session.origin != Origin::Own {
        return Plan::act(Effect::AddFinalizer);
    }
    let Some(inputs) = &connected.inputs else {
        return Plan::wait(o.timing.fault_wait_min);
    };
    if look_first(o, provider) {
        return Plan::act(Effect::Lookup(Box::new(LookupPlan {
            keys: keys(&o.session, recorded(o).map_or(1, |record| record.attempt)),
            repository: effective.repository.clone(),
            // An earlier life of the object may have used another template than there is now.
            template_id: recorded(o).and_then(|record| record.target.template_id.clone()),
            baseline: None,
            created_from: recorded(o).map_or(o.session.created_at, |record| record.claimed_at)
                - CREATED_BEFORE,
            created_until: o.now + o.timing.fence(),
            prove_absence: true,
            evidence_seen: *evidence_seen,
            resume: o.own_lookups().and_then(|looks| looks.resume.clone()),
        })));
    }
    match preflight::standing(o, provider, connected) {
        Standing::Done(_) => {}
        Standing::Due => return preflight(o),
        Standing::Failed(error, wait) => {
            let message = format!("waits, the provider cannot be used right now: {error}");
            return waiting(o, error.outage(), &message).again(wait);
        }
    }
    let attempt = recorded(o).map_or(1, |record| record.attempt);
    // A settled refusal proves that nothing with this key is under way: counting begins anew (docs/reliability.md).
    claim(o, provider, connected, inputs, effective, attempt, 1)
}

/// Looks at what is there before the launch.
pub(super) fn preflight(o: &Observed<'_>) -> Plan {
    Plan::act(Effect::Preflight {
        issue: o.session.spec.issue.clone(),
    })
}

/// Claims an attempt and sends it.
pub(super) fn claim(
    o: &Observed<'_>,
    provider: &ProviderFacts,
    connected: &Connected,
    inputs: &Inputs,
    effective: &Effective,
    attempt: i32,
    posts: i32,
) -> Plan {
    let key = LaunchKey::derive(o.session.namespace_uid, o.session.uid, attempt);
    let not_after = o.now + o.timing.send_window;
    let spec = o.session.spec;
    // What was sent before is looked for under the template that it was sent with.
    let template_id = match recorded(o) {
        Some(record) if posts > 1 => record.target.template_id.clone(),
        _ => inputs.template_id.clone(),
    };
    let record = SendRecord {
        key: key.as_uuid().to_owned(),
        attempt,
        claim_id: o.fresh_claim_id.to_owned(),
        posts,
        state: SendState::Claimed,
        claimed_at: o.now,
        not_after,
        target: SendTarget {
            kind: provider.kind.as_str().to_owned(),
            api_version: provider.api_version.to_owned(),
            endpoint: effective.provider.endpoint.clone(),
            account: connected.account.as_str().to_owned(),
            secret_ref: format!(
                "{}/{}",
                effective.credentials_ref.name, effective.credentials_ref.key
            ),
            template_id: template_id.clone(),
            issue: spec.issue.clone(),
        },
        baseline: match preflight::standing(o, provider, connected) {
            Standing::Done(baseline) => baseline.map(str::to_owned),
            Standing::Due | Standing::Failed(..) => None,
        },
        request_digest: inputs.digest.clone(),
        refusal: recorded(o)
            .filter(|_| posts == 1)
            .and_then(|record| record.refusal.clone()),
    };
    let mut draft = draft(o);
    let status = draft.status();
    status.phase = SessionPhase::Creating;
    status.queue = None;
    status.effective = Some(effective.clone());
    status.launch = Some(record);
    status.provider = Some(ProviderStatus {
        kind: provider.kind.as_str().to_owned(),
        ..ProviderStatus::default()
    });
    draft.first_message().phase = SessionPhase::Creating;
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::Launching,
        "the launch is under way",
    );
    draft.reconciling(
        Reason::Launching,
        format!("launching at {}", provider.kind.display_name()),
    );
    Plan {
        before: Some(StatusWrite {
            status: Box::new(draft.finish()),
            guard: Guard::Unchanged,
        }),
        effect: Some(Effect::Launch(Box::new(LaunchPlan {
            key,
            claim_id: o.fresh_claim_id.to_owned(),
            not_after,
            effective: effective.clone(),
            prompt: inputs.prompt.clone(),
            issue: spec.issue.clone(),
            on_behalf_of: spec.on_behalf_of.clone(),
            template_id,
        }))),
        notes: Vec::new(),
        again: None,
    }
}

fn recorded<'a>(o: &Observed<'a>) -> Option<&'a SendRecord> {
    o.session.status.and_then(|status| status.launch.as_ref())
}

/// A draft in the phase before the launch.
fn draft(o: &Observed<'_>) -> Draft {
    let mut draft = Draft::new(o.session.status, o.session.generation, o.now);
    draft.status().phase = SessionPhase::Pending;
    // Whoever waits for a place says so anew.
    draft.status().queue = None;
    draft
}

fn stalled(o: &Observed<'_>, reason: Reason, message: &str) -> Plan {
    let mut draft = draft(o);
    draft.stalled(reason, message);
    Plan::store(o, draft.finish())
}

fn waiting(o: &Observed<'_>, reason: Reason, message: &str) -> Plan {
    let mut draft = draft(o);
    draft.reconciling(reason, message);
    Plan::store(o, draft.finish())
}

/// Ends a session that was never launched, as its spec asks.
fn never_launched(o: &Observed<'_>, reason: Reason, message: &str) -> Plan {
    let mut draft = draft(o);
    if earlier_attempt_open(o) {
        let reason = Reason::LaunchOutcomeUnknown;
        let message = format!(
            "{message} again, and whether the first launch arrived could not be found out. {IF_FOUND}"
        );
        draft.set(
            SessionCondition::Launched,
            ConditionStatus::Unknown,
            reason,
            &message,
        );
        draft.end(SessionPhase::Cancelled, true, reason, &message);
        return Plan::store(o, draft.finish()).telling(Note::warning(reason, message));
    }
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::False,
        reason,
        message,
    );
    draft.end(SessionPhase::Cancelled, true, reason, message);
    Plan::store(o, draft.finish())
}

/// What speaks against the launch: the session's own mistake ends it, others' mistakes keep it waiting.
fn refuse(o: &Observed<'_>, objection: &Objection) -> Plan {
    match objection.fault {
        Fault::Surroundings => stalled(o, objection.reason, &objection.message),
        Fault::Session => {
            let mut draft = draft(o);
            draft.set(
                SessionCondition::Launched,
                ConditionStatus::False,
                objection.reason,
                &objection.message,
            );
            draft.end(
                SessionPhase::Error,
                false,
                objection.reason,
                &objection.message,
            );
            Plan::store(o, draft.finish())
                .telling(Note::warning(objection.reason, &objection.message))
        }
    }
}

/// Whether sessions of this provider are launched from a template, and it is not there for this account.
pub fn template_missing(provider: &ProviderFacts, connected: &Connected) -> bool {
    provider.capabilities.contains(&Capability::Templates)
        && connected
            .inputs
            .as_ref()
            .is_some_and(|inputs| inputs.template_id.is_none())
}

/// After a refusal nothing is sent until its circumstances change or its time is up.
fn held_by_refusal(o: &Observed<'_>, connected: &Connected, agent_generation: i64) -> Option<Plan> {
    let record = recorded(o)?;
    let refusal = record.refusal.as_ref()?;
    let same_template = connected
        .inputs
        .as_ref()
        .is_none_or(|inputs| inputs.template_id == record.target.template_id);
    let unchanged = refusal.agent_generation == agent_generation
        && refusal.credential == connected.credential
        && same_template;
    let remaining = o.until(refusal.retry_at);
    (unchanged && !remaining.is_zero()).then(|| {
        // Something else may have stood in its place meanwhile.
        let mut draft = draft(o);
        record::waits_after_refusal(&mut draft, refusal);
        Plan::store(o, draft.finish()).again(record::next_look_at_refusal(o, refusal))
    })
}

fn queued(o: &Observed<'_>, position: i32) -> Plan {
    let mut draft = draft(o);
    let stored = o.session.status.and_then(|status| status.queue.as_ref());
    let since = stored.map_or(draft.now(), |queue| queue.since);
    draft.status().queue = Some(QueueStatus { position, since });
    draft.reconciling(
        Reason::WaitingForCapacity,
        "waits: the CodeAgent runs as many sessions as spec.maxConcurrentSessions allows",
    );
    Plan::store(o, draft.finish())
}

/// Whether the provider is looked at before the first request: a rate limit may have hidden an acceptance, and an old
/// object without a claim may come from a backup that was made before the claim.
fn look_first(o: &Observed<'_>, provider: &ProviderFacts) -> bool {
    let findable = match provider.recovery {
        Recovery::ClientId | Recovery::Marker => true,
        Recovery::None => false,
    };
    let doubtful = match recorded(o) {
        Some(record) => record
            .refusal
            .as_ref()
            .is_some_and(|refusal| refusal.class == "RateLimited"),
        None => o.session.older_than_process || o.since(o.session.created_at) >= o.timing.stale_age,
    };
    let looked = o
        .own_lookups()
        .is_some_and(|looks| !looks.absent.is_empty());
    findable && doubtful && !looked
}
