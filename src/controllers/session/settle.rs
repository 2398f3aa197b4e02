//! What follows the last pass over a session, or its last effect: what is not needed any more is given back, what runs is followed,
//! what is over is forgotten.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use crate::api::CodeSession;
use crate::controllers::poller::Followed;
use crate::controllers::scope::Scope;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::ErrorClass;
use crate::domain::requeue::Again;
use crate::domain::session::{Stage, session_ref};
use crate::domain::status::newest_entry;

/// A session that got a slot or a lock and was not launched after all gives it back, and who waits may get it.
pub(super) fn release_unused(scope: &Scope, object: &Arc<CodeSession>) {
    let newest = scope.sessions.get(&ObjectRef::from_obj(object.as_ref()));
    let newest = newest.as_ref().unwrap_or(object);
    let uid = newest.uid().unwrap_or_default();
    let launching = scope.context.memory.of(&uid).in_flight;
    scope.context.admission.settle(newest, launching);
}

/// What follows the last effect: what is not needed any more is given back, what runs is followed.
pub(super) fn rest(scope: &Arc<Scope>, object: &Arc<CodeSession>, again: Again) {
    release_unused(scope, object);
    settle(scope, object, again);
}

/// After the last pass: follow what runs, forget what is over and is not looked at `again`.
pub(super) fn settle(scope: &Arc<Scope>, object: &Arc<CodeSession>, again: Again) {
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
            forget_what_is_over(scope, object, &uid, again);
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
    // The end that shows may be that of the message before: it is polled again.
    let shows_an_end = remembered.poll.as_ref().is_some_and(|poll| {
        poll.result
            .as_ref()
            .is_ok_and(|snapshot| snapshot.phase.is_terminal())
    });
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
    let newest = newest_entry(status);
    let started = newest
        .and_then(|message| message.started_at)
        .or(status.started_at);
    let age = started
        .and_then(|started| Duration::try_from(jiff::Timestamp::now().duration_since(started)).ok())
        .unwrap_or_default();
    let followed = uid.clone();
    context.poller.follow(Followed {
        uid,
        session,
        object: ObjectRef::from_obj(object),
        queue: scope.session_queue.clone(),
        age,
        started,
        account,
        attached,
        urgent: status.cancel.is_some(),
        reports: remembered.reports,
    });
    if shows_an_end {
        context.poller.nudge(&followed);
    }
}

/// What was under way ends by itself; the credential goes now, and so does the rest unless the session is looked at `again`.
fn forget_what_is_over(scope: &Scope, object: &Arc<CodeSession>, uid: &str, again: Again) {
    let context = &scope.context;
    context.memory.change(uid, |remembered| {
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
        (Some(true), None) => context.memory.forget(uid),
        (Some(true), Some(wait)) => context.memory.change(uid, |remembered| {
            remembered.next_poll = Some(context.uptime() + wait);
        }),
        (Some(false) | None, _) => {}
    }
}
