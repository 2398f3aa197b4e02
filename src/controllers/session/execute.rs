//! Doing what was planned: the write before, the one effect, the record after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;

use super::super::accounts::ConnectionKey;
use super::super::error::PassError;
use super::super::metrics::LaunchResult;
use super::super::scope::Scope;
use super::Step;
use super::gather::Facts;
use super::launch::launch;
use super::writes::{add_finalizer, api, release_finalizer, store, tell};
use crate::api::{CodeSession, Reason};
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::{
    CancelAnswer, ErrorClass, LaunchOutcome, ProviderError, SessionRef, Subject,
};
use crate::domain::session::{Effect, LookupPlan, Outcome, Plan, Recorded, record, session_ref};
use crate::providers::contract::AdoptRequest;
use crate::runtime::write::{self, WriteError};

/// The name of an effect, for logs.
pub(super) fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::AddFinalizer => "add finalizer",
        Effect::ReleaseFinalizer => "release finalizer",
        Effect::DeleteObject => "delete object",
        Effect::VerifyCredentials => "verify credentials",
        Effect::Preflight { .. } => "look before the launch",
        Effect::Launch(_) => "launch",
        Effect::Lookup(_) => "look up",
        Effect::Cancel(_) => "cancel",
        Effect::Examine(_) => "examine",
    }
}

/// Carries out a plan.
pub(super) async fn execute(
    scope: &Arc<Scope>,
    object: &Arc<CodeSession>,
    facts: Facts,
    plan: Plan,
) -> Result<Step, PassError> {
    // The send window opens before the claim is written: the claim's own write counts against it.
    let opened = Instant::now();
    // A process that was stopped and continued may have decided this long ago.
    if !scope.context.may_begin() {
        return Ok(Step::Rest(None));
    }
    let mut object = Arc::clone(object);
    let wrote = plan.before.is_some();
    if let Some(before) = plan.before {
        match store(scope, &object, &before).await {
            Ok(newer) => object = newer,
            Err(error) => return not_stored("the status", error),
        }
    }
    tell(scope, &object, plan.notes).await;
    let Some(effect) = plan.effect else {
        return Ok(match (wrote, plan.again) {
            (true, None) => Step::Go(object),
            (_, again) => Step::Rest(again),
        });
    };
    tracing::info!(effect = name(&effect), "acts");
    let outcome = match &effect {
        Effect::AddFinalizer => return after_write(scope, add_finalizer(scope, &object).await),
        Effect::ReleaseFinalizer => {
            return after_write(scope, release_finalizer(scope, &object).await);
        }
        Effect::DeleteObject => {
            return match write::delete(&api(scope, &object), object.as_ref()).await {
                Ok(()) => Ok(Step::Rest(None)),
                Err(error) => not_stored("the deletion of the expired object", error),
            };
        }
        Effect::Launch(plan) => return launch(scope, object, facts, plan.clone(), opened).await,
        Effect::VerifyCredentials => {
            let Some(linked) = &facts.linked else {
                return Ok(without_connection(scope));
            };
            let accounts = &scope.context.accounts;
            accounts
                .ask(&linked.key, linked.provider.as_ref(), Duration::ZERO)
                .await;
            return Ok(Step::Go(object));
        }
        Effect::Preflight { issue } => preflight(scope, &facts, issue.as_deref()).await,
        Effect::Lookup(lookup) => look_up(scope, &facts, lookup).await,
        Effect::Cancel(session) => stop(scope, &facts, session).await,
        Effect::Examine(session) => examine(scope, &facts, session).await,
    };
    let (Some(outcome), Some(linked)) = (outcome, &facts.linked) else {
        return Ok(without_connection(scope));
    };
    note_failure(scope, &linked.key, &outcome, object.namespace().as_deref());
    let recorded = record(&facts.observed(&object), &effect, &outcome);
    remember(scope, &facts, &effect, &recorded);
    conclude(scope, object, recorded).await
}

/// The provider cannot be asked now.
fn without_connection(scope: &Scope) -> Step {
    Step::Rest(Some(scope.context.timing().recheck))
}

/// Looks at what is there before a launch.
async fn preflight(scope: &Scope, facts: &Facts, issue: Option<&str>) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    Some(Outcome::Preflighted {
        begun: scope.context.uptime(),
        result: linked.provider.baseline(issue).await,
    })
}

async fn look_up(scope: &Scope, facts: &Facts, lookup: &LookupPlan) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let request = AdoptRequest {
        keys: lookup.keys.clone(),
        installation: scope.context.installation.clone(),
        uid: facts.uid.clone(),
        repository: lookup.repository.clone().unwrap_or_default(),
        template_id: lookup.template_id.clone(),
        baseline: lookup.baseline.clone(),
        created_from: lookup.created_from,
        created_until: lookup.created_until,
        owned: scope.context.owners.others(&facts.uid),
        client_id_honoured: lookup.client_id_honoured,
        resume: lookup.resume.clone(),
    };
    Some(Outcome::LookedUp {
        begun: scope.context.uptime(),
        answer: linked.provider.adopt(&request).await,
    })
}

async fn stop(scope: &Scope, facts: &Facts, session: &SessionRef) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let memory = &scope.context.memory;
    memory.change(&facts.uid, |remembered| {
        remembered.last_stop = Some(scope.context.uptime());
    });
    let answer = linked.provider.cancel(session).await;
    if matches!(answer, Ok(CancelAnswer::Accepted)) {
        memory.change(&facts.uid, |remembered| remembered.stop_taken = true);
    }
    Some(Outcome::Stopped(answer))
}

/// Looks at the session, and notes whose account saw it.
async fn examine(scope: &Scope, facts: &Facts, session: &SessionRef) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let account = scope.context.accounts.last_account(&linked.key);
    Some(Outcome::Examined {
        account: account.map_or_else(
            || AccountFingerprint::new(""),
            |account| account.fingerprint,
        ),
        result: linked.provider.get(session).await,
    })
}

/// What a write of an object without its status leaves to do.
fn after_write(scope: &Scope, written: Result<CodeSession, WriteError>) -> Result<Step, PassError> {
    match written {
        Ok(newer) => {
            let newer = Arc::new(newer);
            scope.stored(&newer);
            Ok(Step::Go(newer))
        }
        Err(error) => not_stored("the finalizer", error),
    }
}

/// What a failed write leaves to do.
fn not_stored(what: &'static str, error: WriteError) -> Result<Step, PassError> {
    match error {
        WriteError::Stale => Ok(Step::Stale),
        WriteError::Gone => Ok(Step::Gone),
        source @ (WriteError::Refused(_) | WriteError::Failed(_)) => {
            Err(PassError::Write { what, source })
        }
    }
}

/// Stores what is to be recorded and says how to go on.
pub(super) async fn conclude(
    scope: &Scope,
    object: Arc<CodeSession>,
    recorded: Recorded,
) -> Result<Step, PassError> {
    let mut object = object;
    let wrote = recorded.write.is_some();
    if let Some(write) = &recorded.write {
        match store(scope, &object, write).await {
            Ok(newer) => object = newer,
            Err(error) => return not_stored("the status", error),
        }
    }
    if let (Some(session), Some(uid)) = (session_ref(object.status.as_ref()), object.uid()) {
        scope.context.owners.own(&session.session_id, &uid);
    }
    tell(scope, &object, recorded.notes).await;
    Ok(match recorded.again {
        Some(again) if again.is_zero() => Step::Go(object),
        Some(again) => {
            // The pass ends here, so what `settle` looks at must be the newest.
            scope.stored(&object);
            if wrote {
                Step::Go(object)
            } else {
                Step::Rest(Some(again))
            }
        }
        None if wrote => Step::Go(object),
        None => Step::Rest(None),
    })
}

fn remember(scope: &Scope, facts: &Facts, effect: &Effect, recorded: &Recorded) {
    let adopted = recorded
        .notes
        .iter()
        .any(|note| note.reason == Reason::Adopted);
    if let (true, Some(provider)) = (adopted, &facts.provider) {
        scope
            .context
            .metrics
            .launch(provider.kind, LaunchResult::Adopted);
    }
    scope.context.memory.change(&facts.uid, |remembered| {
        if let Some(lookups) = &recorded.lookups {
            remembered.lookups.clone_from(lookups);
        }
        if let Some(preflight) = &recorded.preflight {
            remembered.preflight = Some(preflight.clone());
        }
        remembered.faults = if recorded.fault {
            remembered.faults.saturating_add(1)
        } else {
            0
        };
        if matches!(effect, Effect::Examine(_)) {
            remembered.look = None;
        }
    });
}

/// A failure that says something about the key or the provider is known to every session of that key.
pub(super) fn note_failure(
    scope: &Scope,
    key: &ConnectionKey,
    outcome: &Outcome,
    namespace: Option<&str>,
) {
    let error: Option<&ProviderError> = match outcome {
        Outcome::Launched(LaunchOutcome::Accepted(_)) => None,
        Outcome::Launched(LaunchOutcome::Rejected(error) | LaunchOutcome::Unknown(error)) => {
            Some(error)
        }
        Outcome::Preflighted { result, .. } => result.as_ref().err(),
        Outcome::LookedUp { answer, .. } => answer.as_ref().err(),
        // A stop that failed with words of the provider's own is about that session alone (Flapjack's
        // `cursor_cancel_failed`).
        Outcome::Stopped(answer) => answer
            .as_ref()
            .err()
            .filter(|error| error.code.is_none() || error.class == ErrorClass::Unauthorized),
        Outcome::Examined { result, .. } => result.as_ref().err(),
    };
    let accounts = &scope.context.accounts;
    let Some(error) = error else {
        if !matches!(outcome, Outcome::Stopped(Err(_))) {
            accounts.worked(key);
        }
        if matches!(outcome, Outcome::Launched(LaunchOutcome::Accepted(_))) {
            accounts.release_launches(key);
        }
        return;
    };
    if let (ErrorClass::QuotaExhausted, Outcome::Launched(LaunchOutcome::Rejected(_))) =
        (error.class, outcome)
    {
        // It is about the account: the others need not find out one by one.
        accounts.hold_launches(key, error.clone());
        scope.recheck_agents(namespace);
    }
    if error.subject == Some(Subject::CodingAgent) {
        // It was there when the key was checked.
        scope.context.accounts.failed(key, error.clone());
        scope.recheck_agents(namespace);
        return;
    }
    match error.class {
        ErrorClass::Unauthorized => {
            scope.context.accounts.doubt(key);
            // The CodeAgents of this namespace look at their keys again.
            scope.recheck_agents(namespace);
        }
        ErrorClass::Unavailable | ErrorClass::Timeout => {
            scope.context.accounts.failed(key, error.clone());
            scope.recheck_agents(namespace);
        }
        ErrorClass::InvalidRequest
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::RateLimited
        | ErrorClass::QuotaExhausted
        | ErrorClass::Unknown
        | ErrorClass::Protocol => {}
    }
}
