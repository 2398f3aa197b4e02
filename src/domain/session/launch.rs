//! The launch: the look before it where one is needed, and the claim under which it is sent.

use jiff::SignedDuration;

use super::super::ids::LaunchKey;
use super::super::remote::{Capability, Recovery};
use super::observed::{AgentView, Connected, Inputs, Observed, Origin, ProviderFacts, Readiness};
use super::plan::{Effect, Guard, LaunchPlan, LookupPlan, Plan, StatusWrite};
use super::preflight::{self, Standing};
use super::view::{keys, recorded};
use super::waiting::{draft, waiting};
use crate::api::{
    ConditionStatus, Effective, ProviderStatus, Reason, SendRecord, SendState, SendTarget,
    SessionCondition, SessionPhase,
};

/// How far before the claim a session of ours may seem to have been created: clocks differ.
pub(in crate::domain) const CREATED_BEFORE: SignedDuration = SignedDuration::from_mins(10);

/// No gate holds the session: finalizer, look, baseline, claim, in this order, one thing a pass.
pub(super) fn decide(o: &Observed<'_>) -> Plan {
    if o.stopping {
        return Plan::nothing();
    }
    if !o.session.has_finalizer || o.session.origin != Origin::Own {
        return Plan::act(Effect::AddFinalizer);
    }
    let (
        AgentView::Present {
            effective,
            client_id_honoured,
            ..
        },
        Some(provider),
        Readiness::Ready(connected),
    ) = (&o.agent, &o.provider, &o.readiness)
    else {
        // The gates have seen to it that all of it is there.
        return Plan::nothing();
    };
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
            client_id_honoured: *client_id_honoured,
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
    // The key is the same for ever only if it is made of the namespace as it is.
    let Some(namespace_uid) = o.session.namespace_uid else {
        return Plan::wait(o.timing.fault_wait_max);
    };
    let key = LaunchKey::derive(namespace_uid, o.session.uid, attempt);
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

/// Whether sessions of this provider are launched from a template, and it is not there for this account.
pub fn template_missing(provider: &ProviderFacts, connected: &Connected) -> bool {
    provider.capabilities.contains(&Capability::Templates)
        && connected
            .inputs
            .as_ref()
            .is_some_and(|inputs| inputs.template_id.is_none())
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
