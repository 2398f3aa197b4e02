//! What a decision about a session will need beside the caches.

use super::archive;
use super::ended;
use super::gates;
use super::message;
use super::observed::{Observed, Origin};
use super::pending::next_message;
use super::stage::{OpenSend, Outline, Over, Stage};
use crate::api::DesiredState;

/// What a decision will need beside the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// To talk to the provider about what was launched.
    Connection,
    /// What a launch sends as well.
    Launch,
    /// What the next follow-up message sends as well.
    Message,
}

/// What the next decision about a session needs. It stands beside [`decide`](super::decide), which would wait for ever for
/// what nobody gathers.
pub fn needs(o: &Outline<'_>) -> Needs {
    if o.deleting && !o.has_finalizer {
        return Needs::Nothing;
    }
    match Stage::of(o.status) {
        Stage::Running(_) => Needs::Connection,
        Stage::Open(_) if o.in_flight => Needs::Nothing,
        Stage::Open(OpenSend::Launch(_)) => Needs::Launch,
        Stage::Open(OpenSend::Message { .. }) => Needs::Message,
        Stage::Waiting => {
            let cancelled = o.status.is_some_and(|status| status.cancel.is_some());
            let idle = o.deleting
                || cancelled
                || match o.spec.desired_state() {
                    DesiredState::Running => false,
                    DesiredState::Suspended | DesiredState::Cancelled | DesiredState::Archived => {
                        true
                    }
                };
            if idle { Needs::Nothing } else { Needs::Launch }
        }
        Stage::Over(_) if sends_next(o) => Needs::Message,
        Stage::Over(over) => {
            let looks = !o.deleting
                && match over {
                    Over::Unknown(_) => o.adopt,
                    Over::Lost(_) | Over::Ended(_) => {
                        ended::next_poll(o, over).is_some_and(|left| left.is_zero())
                    }
                    Over::NeverLaunched => false,
                };
            let archives = o.status.and_then(|status| {
                archive::until_due(o.spec, status, o.provider, over, o.now, o.timing)
            });
            let looks = looks || (!o.deleting && archives.is_some_and(|left| left.is_zero()));
            if looks {
                Needs::Connection
            } else {
                Needs::Nothing
            }
        }
    }
}

/// Whether nothing but what the session shares with others (a slot, an issue, a branch) can still hold back the next request that is
/// paid for. `o` is gathered as if it had all of that.
pub fn may_send(o: &Observed<'_>, need: Needs) -> bool {
    match need {
        Needs::Launch => o.session.origin != Origin::Copy && gates::open(o),
        Needs::Message => message::may_send(o),
        Needs::Nothing | Needs::Connection => false,
    }
}

/// Whether a follow-up message is to be sent, as far as the session itself says.
fn sends_next(o: &Outline<'_>) -> bool {
    let held = o.deleting || o.spec.desired_state() == DesiredState::Suspended;
    !held && next_message(o.spec, o.status).is_some_and(|message| !message.is_cancelled())
}
