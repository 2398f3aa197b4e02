//! What can keep a message from being sent.

use super::super::gates::{self, Check, Gate, Hold};
use super::super::observed::{Observed, Origin, Readiness};
use super::super::pending::next_message;
use super::super::stage::Stage;
use super::entry::recorded;
use crate::api::{DesiredState, Reason};

/// What a message to a copy's session waits for.
const NEVER_SENT: &str = "this object is a restored copy: what waits may have been sent by its original, so it is not sent. Remove the annotation codeagents.dev/origin to send it all the same";

/// What can keep a message from being sent, in the order in which it is asked.
pub(super) const GATES: &[Check] = &[
    copy,
    gates::namespace,
    suspended,
    gates::provider,
    gates::agent_suspended,
    gates::credentials,
    account,
    refusal,
    gates::slot,
    gates::lock,
];

/// What was sent to a restored copy's session was sent by the original.
fn copy<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.session.origin {
        Origin::Copy => Gate::Block(Hold::new(Reason::RestoredCopy, NEVER_SENT)),
        Origin::None | Origin::Own => Gate::Pass,
    }
}

fn suspended<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.session.spec.desired_state() {
        DesiredState::Suspended => Gate::Settle(Hold::new(
            Reason::Suspended,
            "suspended: set spec.desiredState to Running to send what waits",
        )),
        DesiredState::Running | DesiredState::Cancelled | DesiredState::Archived => Gate::Pass,
    }
}

/// Another account does not have the session.
fn account<'a>(o: &Observed<'a>) -> Gate<'a> {
    let launch = Stage::of(o.session.status).launched();
    match (&o.readiness, launch) {
        (Readiness::Ready(connected), Some(launch))
            if connected.account.as_str() != launch.target.account =>
        {
            Gate::Block(Hold::new(
                Reason::CredentialsChanged,
                "the credentials now belong to another account, which does not know this session: restore the credentials it was launched with",
            ))
        }
        _ => Gate::Pass,
    }
}

/// After a refusal nothing is sent until its circumstances change or its time is up.
fn refusal<'a>(o: &Observed<'a>) -> Gate<'a> {
    let next = next_message(o.session.spec, o.session.status);
    gates::refused(o, next.and_then(|message| recorded(o, &message.name)))
}

/// Whether no gate holds a message back: what holds back a first request holds back every further one.
pub(in crate::domain::session) fn open(o: &Observed<'_>) -> bool {
    GATES.iter().all(|gate| matches!(gate(o), Gate::Pass))
}
