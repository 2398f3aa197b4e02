//! What came of an effect, stored and remembered: the last step of a pass.

use std::sync::Arc;

use kube::ResourceExt;

use super::super::accounts::ConnectionKey;
use super::super::error::PassError;
use super::super::metrics::LaunchResult;
use super::super::scope::Scope;
use super::gather::Facts;
use super::step::Step;
use super::writes::{emit, store};
use crate::api::{CodeSession, Reason};
use crate::domain::remote::{ErrorClass, ProviderError, Subject};
use crate::domain::requeue::Again;
use crate::domain::send::answer::{LaunchOutcome, MessageOutcome};
use crate::domain::send::scope::LaunchScope;
use crate::domain::session::{Effect, Outcome, Recorded, session_ref};
use crate::runtime::write::WriteError;

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
    emit(scope, &object, recorded.events).await;
    Ok(match recorded.again {
        Some(again) if again.is_zero() => Step::Go(object),
        Some(again) => {
            // The pass ends here, so what `settle` looks at must be the newest.
            scope.stored(&object);
            if wrote {
                Step::Go(object)
            } else {
                Step::Rest(Again::soon(again))
            }
        }
        None if wrote => Step::Go(object),
        None => Step::Rest(Again::NEVER),
    })
}

/// What a failed write leaves to do.
pub(super) fn not_stored(what: &'static str, error: WriteError) -> Result<Step, PassError> {
    match error {
        WriteError::Stale => Ok(Step::Stale),
        WriteError::Gone => Ok(Step::Gone),
        source @ (WriteError::Refused(_) | WriteError::Failed(_)) => {
            Err(PassError::Write { what, source })
        }
    }
}

pub(super) fn remember(scope: &Scope, facts: &Facts, effect: &Effect, recorded: &Recorded) {
    let adopted = recorded
        .events
        .iter()
        .any(|event| event.reason == Reason::Adopted);
    if let (true, Some(provider)) = (adopted, &facts.provider) {
        let metrics = &scope.context.metrics;
        match effect {
            Effect::Lookup(plan) if plan.message.is_some() => {
                metrics.message(provider.kind, LaunchResult::Adopted);
            }
            _ => metrics.launch(provider.kind, LaunchResult::Adopted),
        }
    }
    scope.context.memory.change(&facts.uid, |remembered| {
        remembered.learn(
            facts.remembered.claim_id(),
            recorded.lookups.as_ref(),
            recorded.baseline_read.as_ref(),
        );
        remembered.faults = if recorded.fault {
            remembered.faults.saturating_add(1)
        } else {
            0
        };
        if matches!(effect, Effect::Examine(_)) {
            remembered.poll = None;
        }
    });
}

fn is_of_the_account(error: &&ProviderError) -> bool {
    error.code.is_none() || error.class == ErrorClass::Unauthorized
}

/// A failure that says something about the key or the provider is known to every session of that key, and a refused launch to
/// those that would meet the same.
pub(super) fn note_failure(
    scope: &Scope,
    key: &ConnectionKey,
    outcome: &Outcome,
    object: &CodeSession,
) {
    let namespace = object.metadata.namespace.as_deref();
    let status = object.status.as_ref();
    let effective = status.and_then(|status| status.effective.as_ref());
    let error: Option<&ProviderError> = match outcome {
        Outcome::Launched(LaunchOutcome::Accepted(_))
        | Outcome::Messaged(MessageOutcome::Accepted(_)) => None,
        Outcome::Launched(LaunchOutcome::Rejected(error) | LaunchOutcome::Unknown(error))
        | Outcome::Messaged(MessageOutcome::Rejected(error) | MessageOutcome::Unknown(error)) => {
            Some(error)
        }
        Outcome::BaselineRead { result, .. } => result.as_ref().err(),
        Outcome::LookedUp { answer, .. } => answer.as_ref().err(),
        // What failed with words of the provider's own is about that session alone (Flapjack's `cursor_cancel_failed` and
        // `archive_failed`).
        Outcome::Stopped(answer) => answer.as_ref().err().filter(is_of_the_account),
        Outcome::Archived { result, .. } => result.as_ref().err().filter(is_of_the_account),
        Outcome::Examined { result, .. } => result.as_ref().err(),
    };
    let accounts = &scope.context.accounts;
    let Some(error) = error else {
        let failed = matches!(
            outcome,
            Outcome::Stopped(Err(_)) | Outcome::Archived { result: Err(_), .. }
        );
        if !failed {
            accounts.worked(key);
        }
        let accepted = matches!(outcome, Outcome::Launched(LaunchOutcome::Accepted(_)));
        if let Some(effective) = effective.filter(|_| accepted)
            && accounts.release_launches(key, &LaunchScope::of_launch(effective))
        {
            scope.recheck_agents(namespace);
        }
        return;
    };
    if let (Outcome::Launched(LaunchOutcome::Rejected(_)), Some(effective)) = (outcome, effective)
        && let Some(launches) = LaunchScope::of_refusal(error, &object.spec, effective)
    {
        // The others need not find out one by one.
        accounts.hold_launches(key, launches, error.clone());
        scope.recheck_agents(namespace);
    }
    if error.subject == Some(Subject::CodingAgent) {
        // It was there when the key was checked.
        scope.context.accounts.failed(key, error.clone());
        scope.recheck_agents(namespace);
        return;
    }
    if error.class == ErrorClass::Unauthorized {
        scope.context.accounts.doubt(key);
        // The CodeAgents of this namespace look at their keys again.
        scope.recheck_agents(namespace);
    } else if error.is_outage() {
        scope.context.accounts.failed(key, error.clone());
        scope.recheck_agents(namespace);
    }
}
