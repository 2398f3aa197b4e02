//! What a decision about a session will need beside the caches.

use super::archive;
use super::ended;
use super::stage::{Outline, Over, Stage};
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
        Stage::Open(_) => Needs::Launch,
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
