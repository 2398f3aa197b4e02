//! The controller of CodeSessions: one pass after the other until there is nothing to do right now.

mod admit;
mod calls;
mod execute;
mod gather;
mod handover;
mod record;
mod send;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::Api;
use kube_runtime::reflector::ObjectRef;
use tracing::Instrument;

use super::connection::Linked;
use super::error::{Chain, PassError};
use super::metrics::{Controller, PassOutcome};
use super::poller::Followed;
use super::scope::Scope;
use crate::api::CodeSession;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::ErrorClass;
use crate::domain::requeue::{Again, jittered};
use crate::domain::session::{Effect, Stage, session_ref};
use crate::runtime::cache::Kept;

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
    Handed {
        /// When something is due that does not wait for it, exactly.
        due: Option<Duration>,
    },
    /// Its effect waits for a permit of the connection, and is woken when there is one.
    Queued {
        /// When something else is due for the object, exactly.
        due: Option<Duration>,
    },
}

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

/// A session that got a slot or a lock and was not launched after all gives it back, and who waits may get it.
fn release_unused(scope: &Scope, object: &Arc<CodeSession>) {
    let newest = scope.sessions.get(&ObjectRef::from_obj(object.as_ref()));
    let newest = newest.as_ref().unwrap_or(object);
    let uid = newest.uid().unwrap_or_default();
    let launching = scope.context.memory.of(&uid).in_flight;
    scope.context.admission.settle(newest, launching);
}

/// What follows the last effect: what is not needed any more is given back, what runs is followed.
fn rest(scope: &Arc<Scope>, object: &Arc<CodeSession>, again: Again) {
    release_unused(scope, object);
    settle(scope, object, again);
}

/// One pass: gather, decide, do one thing, or hand it over, and record it.
async fn pass(scope: &Arc<Scope>, object: &Arc<CodeSession>) -> Result<Step, PassError> {
    let uid = object.uid().unwrap_or_default();
    let under_way = scope.context.memory.passes_effect(&uid);
    if under_way && object.metadata.deletion_timestamp.is_none() {
        return Ok(Step::Handed { due: None });
    }
    let facts = gather::gather(scope, object).await?;
    let plan = crate::domain::session::decide(&facts.observed(object));
    // Only the end of a deletion waits for no call that hangs, and only once a stop was sent: the first one is sent when it is
    // stored, for which the object must still be there.
    let over = plan.effect == Some(Effect::ReleaseFinalizer) && stop_was_sent(object);
    if under_way && !over {
        return Ok(Step::Handed { due: plan.deadline });
    }
    tracing::debug!(effect = ?plan.effect.as_ref().map(execute::name), writes = plan.before.is_some(), "decided");
    handover::carry_out(scope, object, facts, plan).await
}

fn stop_was_sent(object: &CodeSession) -> bool {
    let cancel = object
        .status
        .as_ref()
        .and_then(|status| status.cancel.as_ref());
    cancel.is_some_and(|cancel| cancel.sent_at.is_some())
}

/// After the last pass: follow what runs, forget what is over and is not looked at `again`.
fn settle(scope: &Arc<Scope>, object: &Arc<CodeSession>, again: Again) {
    let Some(uid) = object.uid() else { return };
    let context = &scope.context;
    if object.metadata.deletion_timestamp.is_some() && object.finalizers().is_empty() {
        // Its removal may have been seen before the answer to our own write: nobody else would forget it then.
        if !scope.sessions.contains(&ObjectRef::from_obj(&**object)) {
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
                remembered.poll = None;
            });
            let done = scope
                .sessions
                .look(&ObjectRef::from_obj(&**object), |kept| {
                    kept.whole().is_none()
                });
            let next = again.soon.into_iter().chain(again.at).min();
            match (done, next) {
                (Some(true), None) => context.memory.forget(&uid),
                (Some(true), Some(wait)) => context.memory.change(&uid, |remembered| {
                    remembered.next_poll = Some(context.uptime() + wait);
                }),
                (Some(false) | None, _) => {}
            }
        }
        return;
    };
    let remembered = context.memory.of(&uid);
    let refused = remembered.poll.as_ref().is_some_and(|poll| {
        poll.result
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
