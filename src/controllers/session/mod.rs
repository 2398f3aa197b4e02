//! The controller of CodeSessions: one pass after the other until there is nothing to do right now.

mod calls;
mod execute;
mod gather;
mod handover;
mod queue;
mod record;
mod send;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use tracing::Instrument;

use super::connection::Linked;
use super::error::{Chain, PassError};
use super::metrics::{Controller, PassOutcome};
use super::poller::Followed;
use super::scope::{Scope, open_claim};
use crate::api::{CodeSession, SessionPhase};
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::ErrorClass;
use crate::domain::requeue::{Again, jittered};
use crate::domain::session::{Stage, session_ref};

/// Passes in a row over one object before it goes back into the queue: a life has fewer.
const MOST_PASSES: usize = 12;

/// What a pass came to.
pub(super) enum Step {
    /// Something was done: look again at once, at this version.
    Go(Arc<CodeSession>),
    /// Nothing to do for now.
    Rest(Again),
    /// The object is not what it was: the watch will bring the newer one.
    Stale,
    /// The object is gone.
    Gone,
    /// An effect of the object is under way in a task of its own, which wakes it.
    Handed,
    /// Its effect waits for a permit of the connection, and is woken when there is one.
    Queued {
        /// When something else is due for the object, exactly.
        due: Option<Duration>,
    },
}

/// Brings one session as far as it gets now.
///
/// # Errors
/// If something of the cluster could not be read or stored.
pub async fn reconcile(object: Arc<CodeSession>, scope: Arc<Scope>) -> Result<Action, PassError> {
    // The cache may have moved on since this pass was put into the queue: what has gone is not looked at again, or its
    // last words would be said twice.
    let Some(cached) = scope.sessions.get(&ObjectRef::from_obj(&*object)) else {
        return Ok(Action::await_change());
    };
    let mut object = scope.sessions_overlay.newest(cached);
    for _ in 0..MOST_PASSES {
        let begun = Instant::now();
        let span = tracing::info_span!(
            "session",
            namespace = object.namespace().unwrap_or_default(),
            name = object.name_any(),
            phase = object
                .status
                .as_ref()
                .map_or("Pending", |status| status.phase.as_str()),
        );
        let bound = handover::bound(&scope);
        let step = tokio::time::timeout(bound, pass(&scope, &object).instrument(span))
            .await
            .unwrap_or(Err(PassError::Timeout(bound)));
        let outcome = match &step {
            Ok(Step::Rest(Again::NEVER) | Step::Gone) => PassOutcome::Completed,
            Ok(Step::Go(_) | Step::Rest(_) | Step::Handed | Step::Queued { .. }) => {
                PassOutcome::Waiting
            }
            Ok(Step::Stale) => PassOutcome::Skipped,
            Err(_) => PassOutcome::Failed,
        };
        scope
            .context
            .metrics
            .pass(Controller::Session, outcome, begun.elapsed().as_secs_f64());
        // Who waits to launch keeps its place and its turn.
        if !matches!(step, Ok(Step::Go(_) | Step::Handed | Step::Queued { .. })) {
            leave_unused_place(&scope, &object);
            leave_turn(&scope, &object);
            handover::leave_lane(&scope, &object);
        }
        match step? {
            Step::Go(newer) => object = newer,
            Step::Rest(again) => {
                settle(&scope, &object);
                return Ok(again
                    .wait(rand::random())
                    .map_or_else(Action::await_change, |wait| {
                        Action::requeue(wait.max(Duration::from_millis(20)))
                    }));
            }
            // The watch brings the newer version; the timer is for the case that it is already there.
            Step::Stale => return Ok(Action::requeue(Duration::from_millis(500))),
            Step::Gone | Step::Handed => return Ok(Action::await_change()),
            // It is woken; but a deadline may pass while it waits.
            Step::Queued { due } => {
                let again = Again {
                    soon: Some(scope.context.timing().fault_wait_max),
                    at: due,
                };
                return Ok(again
                    .wait(rand::random())
                    .map_or_else(Action::await_change, Action::requeue));
            }
        }
    }
    Ok(Action::requeue(Duration::from_millis(50)))
}

/// A session that took a place and was not launched after all gives it back, and who waits may get it.
fn leave_unused_place(scope: &Scope, object: &Arc<CodeSession>) {
    let newest = scope.sessions_overlay.kept_or(object);
    let phase = newest
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default();
    let uid = newest.uid().unwrap_or_default();
    if phase == SessionPhase::Pending && scope.context.memory.leave_place(&uid) {
        scope.wake_waiting(
            &newest.namespace().unwrap_or_default(),
            &newest.spec.agent_ref.name,
        );
    }
}

/// A session whose launch is not open any more, or was not claimed after all, gives its turn at the issue back.
fn leave_turn(scope: &Scope, object: &Arc<CodeSession>) {
    let newest = scope.sessions_overlay.kept_or(object);
    let uid = newest.uid().unwrap_or_default();
    if open_claim(&newest).is_none() && !scope.context.memory.of(&uid).in_flight {
        scope.leave_turn(&uid);
    }
}

/// What follows the last effect: what is not needed any more is given back, what runs is followed.
fn rest(scope: &Arc<Scope>, object: &Arc<CodeSession>) {
    leave_unused_place(scope, object);
    leave_turn(scope, object);
    settle(scope, object);
}

/// One pass: gather, decide, do one thing, or hand it over, and record it.
async fn pass(scope: &Arc<Scope>, object: &Arc<CodeSession>) -> Result<Step, PassError> {
    let uid = object.uid().unwrap_or_default();
    if scope.context.memory.passes_effect(&uid) {
        return Ok(Step::Handed);
    }
    let facts = gather::gather(scope, object).await?;
    let plan = crate::domain::session::decide(&facts.observed(object));
    tracing::debug!(effect = ?plan.effect.as_ref().map(execute::name), writes = plan.before.is_some(), "decided");
    handover::carry_out(scope, object, facts, plan).await
}

/// After the last pass: follow what runs, forget what is over.
fn settle(scope: &Arc<Scope>, object: &Arc<CodeSession>) {
    let Some(uid) = object.uid() else { return };
    let context = &scope.context;
    if object.metadata.deletion_timestamp.is_some() && object.finalizers().is_empty() {
        // Its removal may have been seen before the answer to our own write: nobody else would forget it then.
        if scope
            .sessions
            .get(&ObjectRef::from_obj(&**object))
            .is_none()
        {
            scope.forget(&uid);
        }
        return;
    }
    let status = object.status.as_ref();
    let runs = matches!(Stage::of(status), Stage::Running(_));
    let Some(status) = status.filter(|_| runs) else {
        context.poller.forget(&uid);
        if status.is_some_and(|status| status.phase.is_terminal()) {
            // What was under way ends by itself; the credential goes now.
            context.memory.change(&uid, |remembered| {
                remembered.attached = None;
                remembered.look = None;
            });
            // Who was woken by its end may have looked before its place was free.
            if context.memory.leave_place(&uid) {
                let namespace = object.namespace().unwrap_or_default();
                scope.wake_waiting(&namespace, &object.spec.agent_ref.name);
            }
        }
        return;
    };
    let remembered = context.memory.of(&uid);
    let refused = remembered.look.as_ref().is_some_and(|look| {
        look.result
            .as_ref()
            .is_err_and(|error| error.class == ErrorClass::Unauthorized)
    });
    if refused {
        // The CodeAgent says what is wrong with the key.
        scope.recheck_agents(object.namespace().as_deref());
    }
    let (Some(attached), Some(session)) = (remembered.attached, session_ref(Some(status))) else {
        return;
    };
    let account = context
        .accounts
        .last_account(&attached.key)
        .map(|account| account.fingerprint)
        .or_else(|| {
            status
                .launch
                .as_ref()
                .map(|record| AccountFingerprint::new(record.target.account.clone()))
        });
    let Some(account) = account else { return };
    let age = status
        .started_at
        .and_then(|started| Duration::try_from(jiff::Timestamp::now().duration_since(started)).ok())
        .unwrap_or_default();
    context.poller.follow(Followed {
        uid,
        session,
        object: ObjectRef::from_obj(object),
        queue: scope.session_queue.clone(),
        age,
        account,
        attached,
        urgent: status.cancel.is_some(),
    });
}

/// What happens after a failed pass: logged once, repeated after a growing while.
pub fn on_error(object: Arc<CodeSession>, error: &PassError, scope: Arc<Scope>) -> Action {
    let uid = object.uid().unwrap_or_default();
    let faults = scope.context.memory.change(&uid, |remembered| {
        remembered.faults = remembered.faults.saturating_add(1);
        remembered.faults
    });
    let reference: ObjectRef<CodeSession> = ObjectRef::from_obj(&*object);
    tracing::warn!(object = %reference, error = %Chain(error), "a pass failed and will be repeated");
    Action::requeue(jittered(
        scope.context.timing().fault_wait(faults),
        rand::random(),
    ))
}

/// Digest of a credential, salted with the session's uid: tells a changed key in `status` without telling the key.
fn salted(uid: &str, credential: &str) -> String {
    AccountFingerprint::of(uid, &[credential])
        .as_str()
        .to_owned()
}

/// Keeps the connection for as long as the session is active.
fn attach(scope: &Scope, uid: &str, attached: Linked) {
    scope
        .context
        .memory
        .change(uid, |remembered| remembered.attached = Some(attached));
}
