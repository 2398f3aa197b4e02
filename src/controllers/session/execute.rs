//! Doing what was planned: the write before, the one effect, the record after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::error::PassError;
use super::super::scope::Scope;
use super::calls;
use super::gather::{Content, Facts};
use super::record::{conclude, not_stored, note_failure, remember};
use super::send::{Paid, send};
use super::step::Step;
use super::writes::{add_finalizer, api, emit, release_finalizer, store};
use crate::api::CodeSession;
use crate::domain::requeue::Again;
use crate::domain::session::{Effect, Event, Plan, record, write_refused};
use crate::runtime::write::{self, WriteError};

/// The name of an effect, for logs.
pub(super) fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::AddFinalizer => "add finalizer",
        Effect::ReleaseFinalizer => "release finalizer",
        Effect::DeleteObject => "delete object",
        Effect::VerifyCredentials => "verify credentials",
        Effect::ReadBaseline { .. } => "read baseline",
        Effect::Launch(_) => "launch",
        Effect::Message(_) => "send message",
        Effect::Lookup(_) => "look up",
        Effect::Cancel(_) => "cancel",
        Effect::Examine(_) => "examine",
        Effect::PollAgain(_) => "look again",
        Effect::Archive(_) => "archive",
    }
}

/// Carries out a plan.
pub(super) async fn execute(
    scope: &Arc<Scope>,
    object: &Arc<CodeSession>,
    facts: Facts,
    plan: Plan,
) -> Result<Step, PassError> {
    let Ok(content) = content_of(scope, &facts, &plan).await else {
        let soon = scope.context.timing().fault_wait_min;
        return Ok(Step::Rest(Again::soon(soon)));
    };
    // The send window opens before the claim is written: the claim's own write counts against it.
    let opened = Instant::now();
    // A process that was stopped and continued may have decided this long ago.
    if !scope.context.may_begin() {
        return Ok(Step::Rest(Again::NEVER));
    }
    let mut object = Arc::clone(object);
    let wrote = plan.before.is_some();
    if let Some(before) = plan.before {
        match store(scope, &object, &before).await {
            Ok(newer) => object = newer,
            // What the API server does not let us record costs money all the same, and a stop may be sent twice.
            Err(WriteError::Refused(said)) if matches!(plan.effect, Some(Effect::Cancel(_))) => {
                tracing::warn!(said, "a stop cannot be recorded and is sent all the same");
            }
            Err(error) => return not_stored("the status", error),
        }
    }
    let Some(effect) = plan.effect else {
        emit(scope, &object, plan.events).await;
        let again = Again {
            soon: plan.again,
            at: plan.deadline,
        };
        return Ok(if wrote && again == Again::NEVER {
            Step::Go(object)
        } else {
            Step::Rest(again)
        });
    };
    tracing::info!(effect = name(&effect), "executing effect");
    if let Some(write) = ObjectWrite::of(&effect) {
        let written = write.send(scope, &object).await;
        return after_write(scope, object, &facts, &effect, written, plan.events).await;
    }
    emit(scope, &object, plan.events).await;
    let outcome = match &effect {
        Effect::Launch(plan) => {
            let paid = Paid::Launch(plan.clone());
            return send(scope, object, facts, (paid, content), opened).await;
        }
        Effect::Message(plan) => {
            let paid = Paid::Message(plan.clone());
            return send(scope, object, facts, (paid, content), opened).await;
        }
        Effect::VerifyCredentials => {
            let Some(linked) = &facts.linked else {
                return Ok(without_connection(scope));
            };
            let accounts = &scope.context.accounts;
            accounts
                .ask(
                    &linked.key,
                    linked.provider.as_ref(),
                    Duration::ZERO,
                    &|| scope.context.may_begin(),
                )
                .await;
            return Ok(Step::Go(object));
        }
        Effect::ReadBaseline { of } => calls::read_baseline(scope, &facts, of).await,
        Effect::Lookup(lookup) => calls::look_up(scope, &object, &facts, lookup).await,
        Effect::Cancel(session) => calls::stop(scope, &facts, session).await,
        Effect::Examine(session) => calls::examine(scope, &object, &facts, session).await,
        Effect::PollAgain(session) => calls::poll_again(scope, &facts, session).await,
        Effect::Archive(session) => calls::archive(scope, &facts, session).await,
        // They are writes of the object.
        Effect::AddFinalizer | Effect::ReleaseFinalizer | Effect::DeleteObject => None,
    };
    let (Some(outcome), Some(linked)) = (outcome, &facts.linked) else {
        return Ok(without_connection(scope));
    };
    note_failure(scope, &linked.key, &outcome, &object);
    let recorded = record(&facts.observed(&object), &effect, &outcome);
    remember(scope, &facts, &effect, &recorded);
    conclude(scope, object, recorded).await
}

/// It is not what was decided on any more: it is decided on again.
struct Changed;

/// What a paid request sends. It is read before the claim, and by nobody who only waits.
async fn content_of(scope: &Scope, facts: &Facts, plan: &Plan) -> Result<Option<Content>, Changed> {
    if plan.effect.as_ref().is_some_and(is_paid) {
        facts.content(scope).await.map(Some).ok_or(Changed)
    } else {
        Ok(None)
    }
}

/// Whether an effect is a paid request.
fn is_paid(effect: &Effect) -> bool {
    match effect {
        Effect::Launch(_) | Effect::Message(_) => true,
        Effect::AddFinalizer
        | Effect::ReleaseFinalizer
        | Effect::DeleteObject
        | Effect::VerifyCredentials
        | Effect::ReadBaseline { .. }
        | Effect::Lookup(_)
        | Effect::Cancel(_)
        | Effect::Examine(_)
        | Effect::PollAgain(_)
        | Effect::Archive(_) => false,
    }
}

/// An effect that writes the object beside its status.
#[derive(Clone, Copy)]
enum ObjectWrite {
    AddFinalizer,
    ReleaseFinalizer,
    Delete,
}

impl ObjectWrite {
    fn of(effect: &Effect) -> Option<Self> {
        match effect {
            Effect::AddFinalizer => Some(Self::AddFinalizer),
            Effect::ReleaseFinalizer => Some(Self::ReleaseFinalizer),
            Effect::DeleteObject => Some(Self::Delete),
            Effect::VerifyCredentials
            | Effect::ReadBaseline { .. }
            | Effect::Launch(_)
            | Effect::Message(_)
            | Effect::Lookup(_)
            | Effect::Cancel(_)
            | Effect::Examine(_)
            | Effect::PollAgain(_)
            | Effect::Archive(_) => None,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::AddFinalizer | Self::ReleaseFinalizer => "the finalizer",
            Self::Delete => "the deletion of the expired object",
        }
    }

    /// The newer version; `None` where the object goes.
    async fn send(
        self,
        scope: &Scope,
        object: &Arc<CodeSession>,
    ) -> Result<Option<CodeSession>, WriteError> {
        match self {
            Self::AddFinalizer => add_finalizer(scope, object).await.map(Some),
            Self::ReleaseFinalizer => release_finalizer(scope, object).await.map(Some),
            Self::Delete => write::delete(&api(scope, object), object.as_ref())
                .await
                .map(|()| None),
        }
    }
}

/// The provider cannot be asked now.
fn without_connection(scope: &Scope) -> Step {
    Step::Rest(Again::soon(scope.context.timing().recheck))
}

/// What a write of the object beside its status leaves to do. What is said of it is said once it is stored; where the API
/// server refuses it, that is said in the status, which can still be written.
async fn after_write(
    scope: &Scope,
    object: Arc<CodeSession>,
    facts: &Facts,
    effect: &Effect,
    written: Result<Option<CodeSession>, WriteError>,
    events: Vec<Event>,
) -> Result<Step, PassError> {
    let what = ObjectWrite::of(effect).map_or("the object", ObjectWrite::what);
    match written {
        Ok(newer) => {
            emit(scope, &object, events).await;
            let Some(newer) = newer else {
                return Ok(Step::Rest(Again::NEVER));
            };
            let newer = Arc::new(newer);
            scope.stored(&newer);
            Ok(Step::Go(newer))
        }
        Err(error) => {
            let Some(said) = error.refusal() else {
                return not_stored(what, error);
            };
            tracing::warn!(what, said, "the API server refuses a write");
            let recorded = write_refused(&facts.observed(&object), effect, &said);
            remember(scope, facts, effect, &recorded);
            conclude(scope, object, recorded).await
        }
    }
}
