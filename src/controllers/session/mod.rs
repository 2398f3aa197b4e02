//! The controller of CodeSessions: one pass after the other until there is nothing to do right now.

mod admit;
mod calls;
mod execute;
mod gather;
mod handover;
mod record;
mod send;
mod settle;
mod step;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::Api;
use kube_runtime::reflector::ObjectRef;
use tracing::Instrument;

use self::settle::{release_unused, settle};
use self::step::Step;
use super::error::{Chain, PassError};
use super::metrics::{Controller, PassOutcome};
use super::scope::Scope;
use crate::api::CodeSession;
use crate::domain::requeue::{Again, jittered};
use crate::domain::session::{Effect, Guard, StatusWrite, requested};
use crate::runtime::cache::Kept;

/// Passes in a row over one object before it goes back into the queue: a life has fewer.
const MOST_PASSES: usize = 12;

/// Brings one session as far as it gets now; answers with when to look again.
pub async fn reconcile(reference: ObjectRef<CodeSession>, scope: Arc<Scope>) -> Option<Duration> {
    let object = match whole(&scope, &reference).await {
        Ok(Known::Whole(object)) => object,
        Ok(Known::Later(wait)) => return Some(wait),
        // What has gone is not looked at again, or its last words would be said twice.
        Ok(Known::Done) => return None,
        Err(error) => return Some(failed(&scope, &reference, None, &error)),
    };
    let uid = object.uid().unwrap_or_default();
    match passes(&scope, object).await {
        Ok(again) => again.map(|again| again.max(Duration::from_millis(20))),
        Err(error) => Some(failed(&scope, &reference, Some(&uid), &error)),
    }
}

/// A session at the beginning of its passes.
enum Known {
    /// There may be something to do.
    Whole(Arc<CodeSession>),
    /// It is over, and looked at again after this time.
    Later(Duration),
    /// It is gone, or nothing is left to do.
    Done,
}

/// The session as a whole. Of one that is done with only a record is kept: it is read when a look at it is due, and not because
/// somebody came by before.
async fn whole(scope: &Scope, reference: &ObjectRef<CodeSession>) -> Result<Known, PassError> {
    let kept = scope.sessions.look(reference, |kept| match kept {
        Kept::Whole(object) => Ok(Arc::clone(object)),
        Kept::Record(finished) => Err(finished.uid()),
    });
    let uid = match kept {
        Some(Ok(object)) => return Ok(Known::Whole(object)),
        Some(Err(uid)) => uid,
        None => return Ok(Known::Done),
    };
    let Some(due) = scope.context.memory.next_poll(&uid) else {
        return Ok(Known::Done);
    };
    let wait = due.saturating_sub(scope.context.uptime());
    if !wait.is_zero() {
        return Ok(Known::Later(wait));
    }
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let api: Api<CodeSession> = Api::namespaced(scope.context.client.clone(), namespace);
    let object = api.get_opt(&reference.name).await;
    let object = object.map_err(|source| PassError::Read {
        what: "the session",
        source,
    })?;
    Ok(object.map_or(Known::Done, |object| Known::Whole(Arc::new(object))))
}

/// Passes over one session until there is nothing to do right now.
async fn passes(
    scope: &Arc<Scope>,
    mut object: Arc<CodeSession>,
) -> Result<Option<Duration>, PassError> {
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
        let bound = handover::bound(scope);
        let step = tokio::time::timeout(bound, pass(scope, &object).instrument(span))
            .await
            .unwrap_or(Err(PassError::Timeout(bound)));
        let outcome = match &step {
            Ok(Step::Rest(Again::NEVER) | Step::Gone) => PassOutcome::Completed,
            Ok(Step::Go(_) | Step::Rest(_) | Step::Handed { .. } | Step::Queued { .. }) => {
                PassOutcome::Waiting
            }
            Ok(Step::Stale) => PassOutcome::Skipped,
            Err(_) => PassOutcome::Failed,
        };
        scope
            .context
            .metrics
            .pass(Controller::Session, outcome, begun.elapsed().as_secs_f64());
        // Who waits to launch keeps its slot and its lock.
        if !matches!(
            step,
            Ok(Step::Go(_) | Step::Handed { .. } | Step::Queued { .. })
        ) {
            release_unused(scope, &object);
            handover::leave_lane(scope, &object);
        }
        match step? {
            Step::Go(newer) => object = newer,
            Step::Rest(again) => {
                settle(scope, &object, again);
                return Ok(again.wait(rand::random()));
            }
            // The watch brings the newer version; the timer is for the case that it is already there.
            Step::Stale => return Ok(Some(Duration::from_millis(500))),
            Step::Gone => return Ok(None),
            Step::Handed { due } => return Ok(due),
            // It is woken; but a deadline may pass while it waits.
            Step::Queued { due } => {
                let again = Again {
                    soon: Some(scope.context.timing().fault_wait_max),
                    at: due,
                };
                return Ok(again.wait(rand::random()));
            }
        }
    }
    Ok(Some(Duration::from_millis(50)))
}

/// One pass: gather, decide, do one thing, or hand it over, and record it.
async fn pass(scope: &Arc<Scope>, object: &Arc<CodeSession>) -> Result<Step, PassError> {
    let uid = object.uid().unwrap_or_default();
    let under_way = scope.context.memory.passes_effect(&uid);
    if let Some(effect) = under_way
        && object.metadata.deletion_timestamp.is_none()
    {
        return match effect.stops {
            true => Ok(Step::Handed { due: None }),
            false => record_request(scope, object).await,
        };
    }
    let facts = gather::gather(scope, object).await?;
    let plan = crate::domain::session::decide(&facts.observed(object));
    // Only the end of a deletion waits for no call that hangs, and only once a stop was sent: the first one is sent when it is
    // stored, for which the object must still be there.
    let over = plan.effect == Some(Effect::ReleaseFinalizer) && stop_was_sent(object);
    if under_way.is_some() && !over {
        return Ok(Step::Handed { due: plan.deadline });
    }
    tracing::debug!(effect = ?plan.effect.as_ref().map(execute::name), writes = plan.before.is_some(), "decided");
    handover::carry_out(scope, object, facts, plan).await
}

/// While a call is under way nothing is decided, but that a stop is asked for is recorded: it may be taken back before the call ends.
async fn record_request(scope: &Scope, object: &Arc<CodeSession>) -> Result<Step, PassError> {
    let generation = object.metadata.generation.unwrap_or(0);
    let now = jiff::Timestamp::now();
    let asked = requested(&object.spec, object.stored_status(), generation, now);
    if let Some(status) = asked.filter(|_| scope.context.may_begin()) {
        let write = StatusWrite {
            status: Box::new(status),
            guard: Guard::Unchanged,
        };
        if let Err(error) = writes::store(scope, object, &write).await {
            return record::not_stored("the request to stop", error);
        }
    }
    Ok(Step::Handed { due: None })
}

fn stop_was_sent(object: &CodeSession) -> bool {
    let cancel = object
        .status
        .as_ref()
        .and_then(|status| status.cancel.as_ref());
    cancel.is_some_and(|cancel| cancel.sent_at.is_some())
}

/// What happens after a failed pass: logged once, repeated after a growing while. Meanwhile it keeps nobody waiting.
fn failed(
    scope: &Scope,
    reference: &ObjectRef<CodeSession>,
    uid: Option<&str>,
    error: &PassError,
) -> Duration {
    tracing::warn!(object = %reference, error = %Chain(error), "a pass failed and will be repeated");
    let context = &scope.context;
    let faults = uid.map_or(1, |uid| {
        context.admission.withdraw(uid);
        context.memory.change(uid, |remembered| {
            remembered.faults = remembered.faults.saturating_add(1);
            remembered.faults
        })
    });
    jittered(context.timing().fault_wait(faults), rand::random())
}

/// A pass panicked: what it had reserved is given back; answers with when to look again.
pub fn panicked(reference: &ObjectRef<CodeSession>, scope: &Scope) -> Duration {
    if let Some(object) = scope.sessions.get(reference) {
        scope
            .context
            .admission
            .withdraw(&object.uid().unwrap_or_default());
        release_unused(scope, &object);
    }
    scope.context.timing().fault_wait(1)
}
