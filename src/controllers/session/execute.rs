//! Doing what was planned: the write before, the one effect, the record after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::Api;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::Instrument;

use super::super::accounts::ConnectionKey;
use super::super::error::PassError;
use super::super::metrics::{LaunchResult, Loose};
use super::super::scope::Scope;
use super::Step;
use super::gather::Facts;
use crate::api::{
    AUTO_MODEL, CodeSession, CodeSessionStatus, DeletionPolicy, FINALIZER, ORIGIN_ANNOTATION,
    ProviderKind, Reason, SendState, SessionPhase,
};
use crate::domain::remote::{
    CancelAnswer, ErrorClass, LaunchOutcome, ProviderError, SessionRef, Subject,
};
use crate::domain::session::{
    Effect, Guard, LaunchPlan, Level, Note, Outcome, Plan, Recorded, StatusWrite, record,
    session_ref,
};
use crate::providers::contract::{
    AdoptRequest, LaunchRequest, ModelChoice, Provider, PullRequestPolicy, SendWindow,
};
use crate::runtime::write::{self, Write, WriteError};

/// How often the record of a launch is tried to be stored before it is left to the next look at the claim.
const RECORD_TRIES: u32 = 30;

/// The name of an effect, for logs.
pub(super) fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::AddFinalizer => "add finalizer",
        Effect::ReleaseFinalizer => "release finalizer",
        Effect::DeleteObject => "delete object",
        Effect::VerifyCredentials => "verify credentials",
        Effect::Preflight { .. } => "look before the launch",
        Effect::Launch(_) => "launch",
        Effect::Lookup { .. } => "look up",
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
            Err(WriteError::Stale) => return Ok(Step::Stale),
            Err(WriteError::Gone) => return Ok(Step::Gone),
            Err(source) => {
                return Err(PassError::Write {
                    what: "the status",
                    source,
                });
            }
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
    let api = api(scope, &object);
    match effect {
        Effect::AddFinalizer => after_write(scope, add_finalizer(&api, &object).await),
        Effect::ReleaseFinalizer => {
            let step = release_finalizer(&api, &object).await;
            if matches!(step, Err(WriteError::Gone)) {
                return Ok(Step::Gone);
            }
            after_write(scope, step)
        }
        Effect::DeleteObject => match write::delete(&api, object.as_ref()).await {
            Ok(()) => Ok(Step::Rest(None)),
            Err(WriteError::Stale) => Ok(Step::Stale),
            Err(source) => Err(PassError::Write {
                what: "the deletion of the expired object",
                source,
            }),
        },
        Effect::VerifyCredentials => {
            let Some(linked) = &facts.linked else {
                return Ok(Step::Rest(Some(scope.context.timing().recheck)));
            };
            scope
                .context
                .accounts
                .ask(&linked.key, linked.provider.as_ref(), Duration::ZERO)
                .await;
            Ok(Step::Go(object))
        }
        Effect::Launch(plan) => launch(scope, object, facts, *plan, opened).await,
        effect @ (Effect::Preflight { .. }
        | Effect::Lookup { .. }
        | Effect::Cancel(_)
        | Effect::Examine(_)) => {
            let Some(linked) = facts.linked.clone() else {
                return Ok(Step::Rest(Some(scope.context.timing().recheck)));
            };
            let outcome = ask(scope, &facts, &linked.provider, &effect).await;
            note_failure(scope, &linked.key, &outcome, object.namespace().as_deref());
            let recorded = record(&facts.observed(&object), &effect, &outcome);
            remember(scope, &facts, &effect, &recorded);
            conclude(scope, object, recorded).await
        }
    }
}

/// Asks the provider; nothing is stored yet.
async fn ask(
    scope: &Scope,
    facts: &Facts,
    provider: &Arc<dyn Provider>,
    effect: &Effect,
) -> Outcome {
    match effect {
        Effect::Preflight { issue } => Outcome::Preflighted {
            begun: scope.context.uptime(),
            result: provider.baseline(issue.as_deref()).await,
        },
        Effect::Lookup {
            keys,
            repository,
            template_id,
            baseline,
            created_from,
            created_until,
            client_id_honoured,
            resume,
        } => {
            let request = AdoptRequest {
                keys: keys.clone(),
                installation: scope.context.installation.clone(),
                uid: facts.uid.clone(),
                repository: repository.clone().unwrap_or_default(),
                template_id: template_id.clone(),
                baseline: baseline.clone(),
                created_from: *created_from,
                created_until: *created_until,
                owned: scope.context.owned_by_others(&facts.uid),
                client_id_honoured: *client_id_honoured,
                resume: resume.clone(),
            };
            Outcome::LookedUp {
                begun: scope.context.uptime(),
                answer: provider.adopt(&request).await,
            }
        }
        Effect::Cancel(session) => {
            scope.context.memory.change(&facts.uid, |remembered| {
                remembered.last_stop = Some(scope.context.uptime())
            });
            let answer = provider.cancel(session).await;
            if matches!(answer, Ok(CancelAnswer::Accepted)) {
                scope
                    .context
                    .memory
                    .change(&facts.uid, |remembered| remembered.stop_taken = true);
            }
            Outcome::Stopped(answer)
        }
        Effect::Examine(session) => {
            let account = facts
                .linked
                .as_ref()
                .and_then(|linked| scope.context.accounts.last_account(&linked.key))
                .map(|account| account.fingerprint)
                .unwrap_or_else(|| crate::domain::ids::AccountFingerprint::new(""));
            Outcome::Examined {
                account,
                result: provider.get(session).await,
            }
        }
        Effect::AddFinalizer
        | Effect::ReleaseFinalizer
        | Effect::DeleteObject
        | Effect::VerifyCredentials
        | Effect::Launch(_) => Outcome::Stopped(Err(not_asked())),
    }
}

/// Sends a claimed launch and records what came of it, in a task of its own: once begun it is finished, whatever becomes
/// of the pass or the lead (rule 14).
async fn launch(
    scope: &Arc<Scope>,
    object: Arc<CodeSession>,
    facts: Facts,
    plan: LaunchPlan,
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
        let effect = Effect::Launch(Box::new(plan));
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
        match store(scope, &object, write).await {
            Ok(newer) => {
                if let Outcome::Launched(LaunchOutcome::Accepted(launched)) = outcome {
                    scope.context.own(launched.session_id.clone(), &facts.uid);
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
            Err(WriteError::Stale | WriteError::Gone | WriteError::Failed(_)) => {}
        }
        match api.get_opt(&claimed.name_any()).await {
            Ok(fresh) => match fresh.filter(|fresh| fresh.uid() == claimed.uid()) {
                None => {
                    compensate(scope, &claimed, outcome, provider).await;
                    return Ok(Step::Gone);
                }
                Some(fresh) => match standing_of(&fresh, &plan.claim_id, outcome) {
                    Standing::Open => object = Arc::new(fresh),
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

/// Stores what is to be recorded and says how to go on.
async fn conclude(
    scope: &Scope,
    object: Arc<CodeSession>,
    recorded: Recorded,
) -> Result<Step, PassError> {
    let mut object = object;
    let wrote = recorded.write.is_some();
    if let Some(write) = &recorded.write {
        match store(scope, &object, write).await {
            Ok(newer) => object = newer,
            Err(WriteError::Stale) => return Ok(Step::Stale),
            Err(WriteError::Gone) => return Ok(Step::Gone),
            Err(source) => {
                return Err(PassError::Write {
                    what: "the status",
                    source,
                });
            }
        }
    }
    if let (Some(session), Some(uid)) = (session_ref(object.status.as_ref()), object.uid()) {
        scope.context.own(session.session_id, &uid);
    }
    tell(scope, &object, recorded.notes).await;
    Ok(match recorded.again {
        Some(again) if again.is_zero() => Step::Go(object),
        Some(again) => {
            // The pass ends here, so what `settle` looks at must be the newest.
            scope.sessions_overlay.keep(Arc::clone(&object));
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

/// Stores a status under its guard.
async fn store(
    scope: &Scope,
    object: &Arc<CodeSession>,
    write: &StatusWrite,
) -> Result<Arc<CodeSession>, WriteError> {
    let guarded = match &write.guard {
        Guard::Unchanged => Write::if_unchanged(object.as_ref()),
        // The version is tested as well: what else has changed since must not be lost.
        Guard::Claim(claim) => Write::if_unchanged(object.as_ref())
            .and_if(&["status", "launch", "claimId"], json!(claim)),
    };
    let status = serde_json::to_value(&*write.status).unwrap_or(Value::Null);
    let newer = guarded
        .set(&["status"], status)
        .to_status(&api(scope, object), &object.name_any())
        .await?;
    count_end(scope, object, &write.status);
    let newer = Arc::new(newer);
    scope.sessions_overlay.keep(Arc::clone(&newer));
    Ok(newer)
}

fn count_end(scope: &Scope, before: &CodeSession, after: &CodeSessionStatus) {
    let was = before
        .status
        .as_ref()
        .map_or(SessionPhase::Pending, |status| status.phase);
    if after.phase.is_terminal() && !was.is_terminal() {
        let kind = after.provider.as_ref().and_then(|provider| {
            ProviderKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == provider.kind)
        });
        scope.context.metrics.ended(kind, after.phase.as_str());
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

/// A failure that says something about the key or the provider is known to every session of that key.
fn note_failure(scope: &Scope, key: &ConnectionKey, outcome: &Outcome, namespace: Option<&str>) {
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
    let Some(error) = error else { return };
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

async fn tell(scope: &Scope, object: &CodeSession, notes: Vec<Note>) {
    for note in notes {
        let warning = note.level == Level::Warning;
        match note.reason {
            Reason::Orphaned => scope.context.metrics.loose(Loose::Orphaned),
            Reason::LaunchOutcomeUnknown => scope.context.metrics.loose(Loose::OutcomeUnknown),
            Reason::DuplicateLaunch => scope.context.metrics.loose(Loose::Duplicate),
            _ => {}
        }
        if warning {
            tracing::warn!(
                reason = note.reason.as_str(),
                note = note.message,
                "reports"
            );
        } else {
            tracing::info!(
                reason = note.reason.as_str(),
                note = note.message,
                "reports"
            );
        }
        scope
            .context
            .publisher
            .publish(
                object,
                warning,
                note.reason.as_str(),
                "Reconcile",
                &note.message,
            )
            .await;
    }
}

fn api(scope: &Scope, object: &CodeSession) -> Api<CodeSession> {
    Api::namespaced(
        scope.context.client.clone(),
        &object.namespace().unwrap_or_default(),
    )
}

async fn add_finalizer(
    api: &Api<CodeSession>,
    object: &CodeSession,
) -> Result<CodeSession, WriteError> {
    let mut finalizers = object.finalizers().to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let mut annotations = object.annotations().clone();
    let origin = format!(
        "{}/{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any(),
        object.meta().uid.clone().unwrap_or_default()
    );
    annotations.insert(ORIGIN_ANNOTATION.to_owned(), origin);
    Write::if_unchanged(object)
        .set(&["metadata", "finalizers"], json!(finalizers))
        .set(&["metadata", "annotations"], json!(annotations))
        .to_object(api, &object.name_any())
        .await
}

async fn release_finalizer(
    api: &Api<CodeSession>,
    object: &CodeSession,
) -> Result<CodeSession, WriteError> {
    let left: Vec<&String> = object
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .collect();
    Write::if_unchanged(object)
        .set(&["metadata", "finalizers"], json!(left))
        .to_object(api, &object.name_any())
        .await
}

fn after_write(scope: &Scope, written: Result<CodeSession, WriteError>) -> Result<Step, PassError> {
    match written {
        Ok(newer) => {
            let newer = Arc::new(newer);
            scope.sessions_overlay.keep(Arc::clone(&newer));
            Ok(Step::Go(newer))
        }
        Err(WriteError::Stale) => Ok(Step::Stale),
        Err(WriteError::Gone) => Ok(Step::Gone),
        Err(source) => Err(PassError::Write {
            what: "the finalizer",
            source,
        }),
    }
}

fn not_asked() -> ProviderError {
    ProviderError::unsent(ErrorClass::Unknown, "nothing was asked")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::ids::SessionId;
    use crate::domain::remote::Launched;
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
        let unknown = Outcome::Launched(LaunchOutcome::Unknown(not_asked()));
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
