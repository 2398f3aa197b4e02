//! Effects at a provider, outside of passes: a pass plans one and ends; a task carries it out under a permit of its connection,
//! records what came of it and wakes the object. A provider that is slow, or does not answer, holds up no pass.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;
use tokio::task::JoinError;
use tracing::Instrument;

use super::super::connection::lanes::Permit;
use super::super::error::{Chain, PassError};
use super::super::scope::Scope;
use super::execute::execute;
use super::gather::Facts;
use super::record::not_stored;
use super::settle::rest;
use super::step::Step;
use super::writes::store;
use crate::api::CodeSession;
use crate::domain::requeue::jittered;
use crate::domain::session::{Effect, Plan, waits_for_turn};
use crate::providers::http::Lane;
use crate::runtime::panics::broken_off;

/// How long a launch waits for its turn before that is worth a write: a burst that goes out within some seconds costs none.
const SAID_AFTER: Duration = Duration::from_secs(10);

/// The lane of an effect; `None` if it calls no provider. The look that confirms a stop goes with the stop; what follows once that has
/// shown, such as the next message, does not.
fn lane(effect: &Effect, object: &CodeSession) -> Option<Lane> {
    match effect {
        Effect::AddFinalizer | Effect::ReleaseFinalizer | Effect::DeleteObject => None,
        Effect::Launch(_) | Effect::Message(_) => Some(Lane::Launch),
        Effect::Cancel(_) => Some(Lane::Stop),
        Effect::VerifyCredentials
        | Effect::ReadBaseline { .. }
        | Effect::Lookup(_)
        | Effect::Examine(_)
        | Effect::PollAgain(_)
        | Effect::Archive(_) => {
            let stopping = object
                .status
                .as_ref()
                .is_some_and(|status| status.cancel.is_some() && !status.phase.is_terminal());
            Some(if stopping { Lane::Stop } else { Lane::Read })
        }
    }
}

/// Carries out a plan: here, if no provider is called; else in a task, once the connection has a permit for it.
///
/// Nothing is written before there is a permit. A launch's permit comes with the token of its request, so that a claim, whose
/// send window runs from then on, is written only by who will send next.
pub(super) async fn carry_out(
    scope: &Arc<Scope>,
    object: &Arc<CodeSession>,
    mut facts: Facts,
    plan: Plan,
) -> Result<Step, PassError> {
    let lane = plan.effect.as_ref().and_then(|effect| lane(effect, object));
    let (Some(lane), Some(linked)) = (lane, &mut facts.linked) else {
        return execute(scope, object, facts, plan).await;
    };
    let (queue, reference) = (scope.session_queue.clone(), ObjectRef::from_obj(&**object));
    let wake = move || queue.push(reference.clone());
    let Some(mut permit) = linked.lanes.enter(lane, &facts.uid, wake) else {
        return match plan.effect {
            Some(Effect::Launch(_)) => wait_for_turn(scope, object, &facts, plan.deadline).await,
            _ => Ok(Step::Queued { due: plan.deadline }),
        };
    };
    linked.provider = Arc::clone(linked.lanes.provider(lane));
    permit.hand_to_launch();
    let due = plan.deadline;
    hand_over(scope, object, facts, plan, permit);
    Ok(Step::Handed { due })
}

/// A launch that waits for its permit: if that takes long, it is said.
async fn wait_for_turn(
    scope: &Scope,
    object: &Arc<CodeSession>,
    facts: &Facts,
    due: Option<Duration>,
) -> Result<Step, PassError> {
    let now = scope.context.uptime();
    let memory = &scope.context.memory;
    let since = memory.change(&facts.uid, |remembered| {
        *remembered.queued_since.get_or_insert(now)
    });
    let left = (since + SAID_AFTER).saturating_sub(now);
    if !left.is_zero() {
        let due = due.map_or(left, |due| due.min(left));
        return Ok(Step::Queued { due: Some(due) });
    }
    if let Some(write) = waits_for_turn(&facts.observed(object)).before
        && scope.context.may_begin()
        && let Err(error) = store(scope, object, &write).await
    {
        return not_stored("the status", error);
    }
    Ok(Step::Queued { due })
}

fn hand_over(
    scope: &Arc<Scope>,
    object: &Arc<CodeSession>,
    facts: Facts,
    plan: Plan,
    permit: Permit,
) {
    let tasks = &scope.context.tasks;
    let uid = facts.uid.clone();
    let stops = matches!(plan.effect, Some(Effect::Cancel(_)));
    scope.context.memory.begin_effect(&uid, stops);
    let refusals = scope.context.lead.refusals();
    let (task_scope, task_object) = (Arc::clone(scope), Arc::clone(object));
    let work = async move {
        let bound = bound(&task_scope);
        let step = tokio::time::timeout(bound, execute(&task_scope, &task_object, facts, plan))
            .await
            .unwrap_or(Err(PassError::Timeout(bound)));
        drop(permit);
        step
    };
    let work = tasks.spawn(work.instrument(tracing::Span::current()));
    let (scope, object) = (Arc::clone(scope), Arc::clone(object));
    tasks.spawn(async move {
        let ended = work.await;
        finish(&scope, &object, &uid, ended);
        if scope.context.lead.refusals() != refusals {
            // It may have been given up because the lead had lapsed for a moment, which triggers nothing.
            scope.session_queue.push(ObjectRef::from_obj(&*object));
        }
    });
}

/// Longest time that an effect may take, its record included.
pub(super) fn bound(scope: &Scope) -> Duration {
    scope.context.timing().post_timeout + Duration::from_secs(90)
}

/// An effect has ended, well or not: what is next is for a pass.
fn finish(
    scope: &Arc<Scope>,
    object: &Arc<CodeSession>,
    uid: &str,
    ended: Result<Result<Step, PassError>, JoinError>,
) {
    // A pass that came meanwhile went away: what it came for is still to be done.
    let missed = scope.context.memory.end_effect(uid);
    let reference = ObjectRef::from_obj(&**object);
    let newest = scope.sessions.get(&reference);
    let newest = newest.as_ref().unwrap_or(object);
    let again = match ended {
        Ok(Ok(Step::Go(_) | Step::Handed { .. } | Step::Queued { .. })) => Some(Duration::ZERO),
        Ok(Ok(Step::Rest(again))) => {
            rest(scope, newest, again);
            again.wait(rand::random())
        }
        Ok(Ok(Step::Stale)) => Some(Duration::from_millis(500)),
        Ok(Ok(Step::Gone)) => None,
        Ok(Err(error)) => {
            let faults = scope.context.memory.change(uid, |remembered| {
                remembered.faults = remembered.faults.saturating_add(1);
                remembered.faults
            });
            tracing::warn!(object = %reference, error = %Chain(&error), "an effect failed and will be decided on again");
            Some(jittered(
                scope.context.timing().fault_wait(faults),
                rand::random(),
            ))
        }
        Err(error) => {
            tracing::error!(object = %reference, error = broken_off(&error), "an effect broke off; the session is looked at again");
            Some(scope.context.timing().fault_wait_min)
        }
    };
    let again = if missed { Some(Duration::ZERO) } else { again };
    let queue = scope.session_queue.clone();
    match again {
        None => {}
        Some(Duration::ZERO) => queue.push(reference),
        Some(wait) => {
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                queue.push(reference);
            });
        }
    }
}

/// The session needs nothing of its connection now, or something else than it waited for.
pub(super) fn leave_lane(scope: &Scope, object: &CodeSession) {
    let uid = object.uid().unwrap_or_default();
    let memory = &scope.context.memory;
    memory.change(&uid, |remembered| remembered.queued_since = None);
    if let Some(attached) = memory.attached(&uid) {
        attached.lanes.leave(&uid);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::domain::ids::SessionId;
    use crate::domain::remote::SessionRef;
    use crate::domain::session::Unsent;

    /// A session in this phase, of which a stop is recorded.
    fn stopped(phase: &str) -> CodeSession {
        serde_json::from_value(json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeSession",
            "metadata": {"name": "one", "namespace": "team-a"},
            "spec": {"agentRef": {"name": "agent"}, "prompt": "Do it"},
            "status": {"phase": phase, "cancel": {"reason": "Message", "message": "more"}},
        }))
        .unwrap()
    }

    /// Fifty that went on with their next message once looked for its turn among the stops, and none of them came to send it.
    #[test]
    fn what_follows_a_stop_that_has_shown_is_no_part_of_it() {
        let session = SessionRef {
            session_id: SessionId::new("bc-1"),
            run_id: None,
        };
        let look = Effect::PollAgain(session.clone());
        let before_message = Effect::ReadBaseline {
            of: Unsent::Message(session),
        };
        for effect in [look, before_message] {
            assert_eq!(lane(&effect, &stopped("Running")), Some(Lane::Stop));
            assert_eq!(lane(&effect, &stopped("Cancelled")), Some(Lane::Read));
        }
    }
}
