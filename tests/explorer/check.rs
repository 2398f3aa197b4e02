//! What must hold in every state.

use std::fmt;

use codeagent_operator::api::{OnUnknownLaunch, SendState};

use crate::model::{Object, Session, State, Work, World};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// More was launched for one object than was asked for.
    TwoLaunches,
    /// A session costs money and nobody can find it or was told.
    Unowned,
    /// An object has the session of another one.
    WrongOwner,
    /// An ended session went back to running.
    Reopened,
    /// The end that is recorded is not the provider's.
    WrongEnd,
    /// A request was claimed after the user had asked for the end.
    ClaimAfterStop,
    /// A request left while its claim was not the recorded one.
    SentWithoutClaim,
    /// A deletion took longer than its bound.
    DeletionStuck,
    /// It never comes to rest.
    NeverStable,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl State {
    /// Checks what must hold whatever comes next.
    pub fn check(&self, world: &World) -> Result<(), Violation> {
        let most = if world.on_unknown == OnUnknownLaunch::Retry {
            2
        } else {
            1
        };
        for uid in 0..self.uids {
            if self.sessions.iter().filter(|s| s.uid == uid).count() > most {
                return Err(Violation::TwoLaunches);
            }
        }
        if let Some(object) = &self.object {
            self.check_recorded(object)?;
        }
        for session in &self.sessions {
            if session.work == Work::Running && !self.is_owned(session) {
                return Err(Violation::Unowned);
            }
        }
        Ok(())
    }

    fn check_recorded(&self, object: &Object) -> Result<(), Violation> {
        let Some(id) = object.session_id() else {
            return Ok(());
        };
        let Some(session) = self.sessions.iter().find(|s| s.id == id) else {
            return Err(Violation::WrongOwner);
        };
        if session.uid != object.uid {
            return Err(Violation::WrongOwner);
        }
        let confirmed = object.launch_state() == Some(SendState::Confirmed);
        if object.is_terminal() && confirmed && session.work == Work::Running {
            return Err(Violation::WrongEnd);
        }
        Ok(())
    }

    /// Whether somebody follows the session, can find it, or was told.
    fn is_owned(&self, session: &Session) -> bool {
        if self.reported.contains(&session.uid) {
            return true;
        }
        if self
            .operators
            .iter()
            .any(|operator| operator.holds_acceptance_of(&session.id))
        {
            return true;
        }
        self.object
            .as_ref()
            .filter(|object| object.uid == session.uid && !object.is_terminal())
            .is_some_and(|object| match object.launch_state() {
                Some(SendState::Confirmed) => object.session_id() == Some(&*session.id),
                Some(SendState::Claimed | SendState::Unknown) => true,
                Some(SendState::Rejected | SendState::Absent) | None => false,
            })
    }
}
