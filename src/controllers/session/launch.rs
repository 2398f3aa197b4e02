//! A claimed launch: sent once, and its outcome recorded until it is stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tracing::Instrument;

use super::super::error::{Chain, PassError};
use super::super::metrics::{LaunchResult, Loose};
use super::super::scope::Scope;
use super::Step;
use super::execute::{conclude, note_failure};
use super::gather::Facts;
use super::writes::{api, store, tell};
use crate::api::{AUTO_MODEL, CodeSession, DeletionPolicy, ProviderKind, Reason, SendState};
use crate::domain::remote::{ErrorClass, LaunchOutcome, SessionRef};
use crate::domain::session::{Effect, LaunchPlan, Note, Outcome, record};
use crate::providers::contract::{
    LaunchRequest, ModelChoice, Provider, PullRequestPolicy, SendWindow,
};
use crate::runtime::write::WriteError;

/// How often the record of a launch is tried to be stored before it is left to the next look at the claim.
const RECORD_TRIES: u32 = 30;

/// Sends a claimed launch and records what came of it, in a task of its own: once begun it is finished, whatever becomes
/// of the pass or the lead (rule 14).
pub(super) async fn launch(
    scope: &Arc<Scope>,
    object: Arc<CodeSession>,
    facts: Facts,
    plan: Box<LaunchPlan>,
    opened: Instant,
) -> Result<Step, PassError> {
    let Some(linked) = facts.linked.clone() else {
        return Ok(Step::Rest(Some(Duration::ZERO)));
    };
    let uid = facts.uid.clone();
    scope
        .context
        .memory
        .change(&uid, |remembered| remembered.in_flight = true);
    let task_scope = Arc::clone(scope);
    let span = tracing::Span::current();
    let work = async move {
        let scope = task_scope;
        let request = launch_request(&object, &plan, opened, send_window(&scope, opened));
        let outcome = linked.provider.launch(&request).await;
        count(
            &scope,
            facts.provider.as_ref().map(|provider| provider.kind),
            &outcome,
        );
        let outcome = Outcome::Launched(outcome);
        note_failure(&scope, &linked.key, &outcome, object.namespace().as_deref());
        let template_gone = matches!(
            &outcome,
            Outcome::Launched(LaunchOutcome::Rejected(error))
                if plan.template_id.is_some() && error.class == ErrorClass::NotFound
        );
        if template_gone {
            let namespace = object.namespace().unwrap_or_default();
            scope.doubt_template(&namespace, &object.spec.agent_ref.name);
        }
        let effect = Effect::Launch(plan);
        let step = record_launch(
            &scope,
            object,
            &facts,
            &effect,
            &outcome,
            linked.provider.as_ref(),
        )
        .await;
        // The claim stays ours until its outcome is stored: only then another pass may judge it.
        scope
            .context
            .memory
            .change(&facts.uid, |remembered| remembered.in_flight = false);
        step
    };
    let task = scope.context.tasks.spawn(work.instrument(span));
    // The task is not aborted by anyone; a join error is a panic in it, which the claim outlives.
    match task.await {
        Ok(step) => step,
        Err(_) => {
            scope
                .context
                .memory
                .change(&uid, |remembered| remembered.in_flight = false);
            Ok(Step::Rest(Some(scope.context.timing().fault_wait_min)))
        }
    }
}

/// How long after `opened` a launch may go out: not after others may have taken the lead.
fn send_window(scope: &Scope, opened: Instant) -> Duration {
    let window = scope.context.timing().send_window;
    match scope.context.lead.left() {
        Some(left) => window.min(opened.elapsed() + left),
        None => window,
    }
}

fn launch_request(
    object: &CodeSession,
    plan: &LaunchPlan,
    opened: Instant,
    length: Duration,
) -> LaunchRequest {
    let effective = &plan.effective;
    let model =
        (effective.model.id != AUTO_MODEL || !effective.model.params.is_empty()).then(|| {
            ModelChoice {
                id: effective.model.id.clone(),
                params: effective.model.params.clone(),
            }
        });
    LaunchRequest {
        key: plan.key.clone(),
        name: format!(
            "{}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        ),
        prompt: plan.prompt.clone(),
        repository: effective.repository.clone().unwrap_or_default(),
        reference: effective.reference.clone(),
        model,
        pull_request: PullRequestPolicy {
            auto_create: effective.pull_request.auto_create,
            work_on_current_branch: effective.pull_request.work_on_current_branch,
            skip_reviewer_request: effective.pull_request.skip_reviewer_request,
            branch_name: effective.pull_request.branch_name.clone(),
        },
        on_behalf_of: plan.on_behalf_of.clone(),
        issue: plan.issue.clone(),
        template_id: plan.template_id.clone(),
        window: SendWindow {
            not_after: plan.not_after,
            opened,
            length,
        },
    }
}

fn count(scope: &Scope, kind: Option<ProviderKind>, outcome: &LaunchOutcome) {
    let result = match outcome {
        LaunchOutcome::Accepted(_) => LaunchResult::Accepted,
        LaunchOutcome::Rejected(_) => LaunchResult::Rejected,
        LaunchOutcome::Unknown(_) => LaunchResult::Unknown,
    };
    if let Some(kind) = kind {
        scope.context.metrics.launch(kind, result);
    }
}

/// Stores the outcome of a launch until it is stored (rule 9).
async fn record_launch(
    scope: &Arc<Scope>,
    claimed: Arc<CodeSession>,
    facts: &Facts,
    effect: &Effect,
    outcome: &Outcome,
    provider: &dyn Provider,
) -> Result<Step, PassError> {
    let Effect::Launch(plan) = effect else {
        return Ok(Step::Stale);
    };
    let api = api(scope, &claimed);
    let mut object = Arc::clone(&claimed);
    for attempt in 1..=RECORD_TRIES {
        let recorded = record(&facts.observed(&object), effect, outcome);
        let Some(write) = &recorded.write else {
            return conclude(scope, object, recorded).await;
        };
        let mut failed = None;
        match store(scope, &object, write).await {
            Ok(newer) => {
                if let Outcome::Launched(LaunchOutcome::Accepted(launched)) = outcome {
                    scope.context.owners.own(&launched.session_id, &facts.uid);
                }
                let again = recorded.again;
                tell(scope, &newer, recorded.notes).await;
                return Ok(match again {
                    Some(again) if !again.is_zero() => Step::Rest(Some(again)),
                    _ => Step::Go(newer),
                });
            }
            Err(WriteError::Refused(why)) => {
                // An API server that has just started refuses what it will soon allow.
                tracing::warn!(why, "the outcome of a launch is not stored yet");
                pause(scope, attempt).await;
            }
            Err(WriteError::Failed(error)) => failed = Some(error),
            Err(WriteError::Stale | WriteError::Gone) => {}
        }
        match api.get_opt(&claimed.name_any()).await {
            Ok(fresh) => match fresh.filter(|fresh| fresh.uid() == claimed.uid()) {
                None => {
                    compensate(scope, &claimed, outcome, provider).await;
                    return Ok(Step::Gone);
                }
                Some(fresh) => match standing_of(&fresh, &plan.claim_id, outcome) {
                    Standing::Open => {
                        object = Arc::new(fresh);
                        // Reads may go on where writes fail, as when the store is full.
                        if let Some(error) = failed {
                            tracing::warn!(error = %Chain(&error), "the outcome of a launch is not stored yet");
                            pause(scope, attempt).await;
                        }
                    }
                    Standing::Stored => return Ok(Step::Go(Arc::new(fresh))),
                    Standing::Superseded => {
                        report_extra(scope, &fresh, outcome).await;
                        return Ok(Step::Go(Arc::new(fresh)));
                    }
                },
            },
            Err(_) => pause(scope, attempt).await,
        }
    }
    tracing::error!("the outcome of a launch could not be stored; the claim will be judged again");
    Ok(Step::Rest(Some(scope.context.timing().fault_wait_max)))
}

/// Waits before what was tried `attempt` times is tried again.
async fn pause(scope: &Scope, attempt: u32) {
    let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
    tokio::time::sleep(scope.context.timing().fault_wait(attempt)).await;
}

/// Where the claim of a launch stands in the store, when its outcome could not be stored at first.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is still open: decide again on this version.
    Open,
    /// The outcome is there: the answer to our write was lost.
    Stored,
    /// Somebody else has claimed or recorded since.
    Superseded,
}

fn standing_of(fresh: &CodeSession, claim_id: &str, outcome: &Outcome) -> Standing {
    let status = fresh.status.as_ref();
    let record = status.and_then(|status| status.launch.as_ref());
    let ours = match outcome {
        Outcome::Launched(LaunchOutcome::Accepted(launched)) => Some(&launched.session_id),
        _ => None,
    };
    let recorded = status
        .and_then(|status| status.provider.as_ref())
        .and_then(|provider| provider.session_id.as_deref());
    match (record, recorded) {
        (_, Some(id)) if ours.is_some_and(|ours| ours.as_str() == id) => Standing::Stored,
        (Some(record), None) if record.claim_id == claim_id => match record.state {
            SendState::Claimed | SendState::Unknown => Standing::Open,
            // An acceptance is news, whatever was judged without it.
            SendState::Rejected | SendState::Absent if ours.is_some() => Standing::Open,
            SendState::Confirmed | SendState::Rejected | SendState::Absent => Standing::Stored,
        },
        _ => Standing::Superseded,
    }
}

/// The object is gone, its launch was accepted: undo it, as its deletion would have.
async fn compensate(
    scope: &Scope,
    object: &CodeSession,
    outcome: &Outcome,
    provider: &dyn Provider,
) {
    let Outcome::Launched(LaunchOutcome::Accepted(launched)) = outcome else {
        return;
    };
    let policy = object
        .spec
        .deletion_policy
        .or(object
            .status
            .as_ref()
            .and_then(|status| status.effective.as_ref())
            .map(|effective| effective.deletion_policy))
        .unwrap_or_default();
    let session = SessionRef {
        session_id: launched.session_id.clone(),
        run_id: launched.run_id.clone(),
    };
    let stopped = match policy {
        DeletionPolicy::Orphan => false,
        DeletionPolicy::Cancel => provider.cancel(&session).await.is_ok(),
    };
    if !stopped {
        scope.context.metrics.loose(Loose::Orphaned);
    }
    tracing::warn!(session = %launched.session_id, stopped, "a session was launched while its object was deleted");
}

/// Another launch of the same session is recorded: ours is the extra one. It is reported, not touched.
async fn report_extra(scope: &Scope, object: &CodeSession, outcome: &Outcome) {
    let Outcome::Launched(LaunchOutcome::Accepted(launched)) = outcome else {
        return;
    };
    let note = Note::warning(
        Reason::DuplicateLaunch,
        format!(
            "session {} was launched as well: look at it at the provider, it may cost money",
            launched.session_id
        ),
    );
    tell(scope, object, vec![note]).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::domain::ids::SessionId;
    use crate::domain::remote::{Launched, ProviderError};
    use crate::domain::snapshot::RemotePhase;

    fn stored(state: &str, claim: &str, session: Option<&str>) -> CodeSession {
        let status = json!({
            "phase": "Creating",
            "provider": {"kind": "cursor", "sessionId": session},
            "launch": {
                "key": "key", "attempt": 1, "claimId": claim, "posts": 1, "state": state,
                "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z",
                "target": {
                    "kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.cursor.com",
                    "account": "account", "secretRef": "key/api-key",
                },
                "requestDigest": "digest",
            },
        });
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession", "metadata": {"name": "one"},
            "spec": {"agentRef": {"name": "agent"}, "prompt": "Do it"}, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    /// An acceptance whose record met another version is stored as long as no id is; anything else only while its claim is open.
    #[test]
    fn what_may_still_be_recorded() {
        let accepted = Outcome::Launched(LaunchOutcome::Accepted(Launched {
            session_id: SessionId::new("bc-1"),
            run_id: None,
            url: None,
            phase: RemotePhase::Creating,
            raw_status: String::new(),
        }));
        let unknown = Outcome::Launched(LaunchOutcome::Unknown(ProviderError::unsent(
            ErrorClass::Unknown,
            "no answer",
        )));
        let cases = [
            ("Claimed", "ours", None, Standing::Open, Standing::Open),
            ("Unknown", "ours", None, Standing::Open, Standing::Open),
            ("Absent", "ours", None, Standing::Open, Standing::Stored),
            ("Rejected", "ours", None, Standing::Open, Standing::Stored),
            (
                "Confirmed",
                "ours",
                Some("bc-1"),
                Standing::Stored,
                Standing::Superseded,
            ),
            (
                "Confirmed",
                "ours",
                Some("bc-2"),
                Standing::Superseded,
                Standing::Superseded,
            ),
            (
                "Claimed",
                "another",
                None,
                Standing::Superseded,
                Standing::Superseded,
            ),
        ];
        for (state, claim, session, after_acceptance, after_unknown) in cases {
            let object = stored(state, claim, session);
            let case = format!("{state}, {claim}, {session:?}");
            assert_eq!(
                standing_of(&object, "ours", &accepted),
                after_acceptance,
                "{case}"
            );
            assert_eq!(
                standing_of(&object, "ours", &unknown),
                after_unknown,
                "{case}"
            );
        }
    }
}
