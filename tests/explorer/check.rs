//! What must hold in every state.

use std::fmt;

use codeagent_operator::api::{OnUnknownLaunch, SendState, SessionPhase};

use crate::model::{Object, Session, State, Work, World};
use crate::tables::{IdNo, Stored};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// More was launched for one object than was asked for.
    TwoLaunches,
    /// Nothing ran, or nobody knows of it, where exactly one launch is promised.
    NotLaunched,
    /// A session costs money and nobody can find it or was told.
    Unowned,
    /// An acceptance was in somebody's hands and is neither recorded nor reported.
    AcceptanceLost,
    /// An object has the session of another one.
    WrongOwner,
    /// A session of another installation was stopped.
    ForeignTouched,
    /// An ended session went back to running, or ended in another way.
    Reopened,
    /// A phase or condition went backwards.
    Backwards,
    /// The end that is recorded is not the provider's.
    WrongEnd,
    /// A request was claimed after the user had asked for the end.
    ClaimAfterStop,
    /// A request was claimed although session or CodeAgent is suspended.
    ClaimWhileSuspended,
    /// A request left while its claim was not the recorded one.
    SentWithoutClaim,
    /// A deleted object came back, and would launch again.
    Resurrected,
    /// A deletion took longer than its bound.
    DeletionStuck,
    /// A finalizer is left where nothing is to be done any more.
    FinalizerLeft,
    /// It never comes to rest.
    NeverStable,
    /// More was written than a life may cost.
    TooManyWrites,
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
            if self.own_sessions().filter(|s| s.uid == uid).count() > most {
                return Err(Violation::TwoLaunches);
            }
        }
        if let Some(object) = &self.object {
            self.check_recorded(world, object)?;
        }
        for session in &self.sessions {
            if session.foreign {
                if session.work != Work::Running {
                    return Err(Violation::ForeignTouched);
                }
            } else if session.work == Work::Running && !self.is_owned(world, session) {
                return Err(Violation::Unowned);
            }
        }
        Ok(())
    }

    fn check_recorded(&self, world: &World, object: &Object) -> Result<(), Violation> {
        let stored = world.tables.status(object.status);
        let Some(id) = stored.session else {
            return Ok(());
        };
        let Some(session) = self.own_sessions().find(|s| s.id == id) else {
            return Err(Violation::WrongOwner);
        };
        if session.uid != object.uid {
            return Err(Violation::WrongOwner);
        }
        if !stored.terminal || stored.launch != Some(SendState::Confirmed) {
            return Ok(());
        }
        let true_end = match (stored.phase, session.work) {
            (SessionPhase::Finished, Work::Finished) | (SessionPhase::Cancelled, Work::Stopped) => {
                true
            }
            // It finished by itself after a stop was taken: providers do not tell the two apart.
            (SessionPhase::Cancelled, Work::Finished) => {
                stored.cancel_accepted || session.told_stopped
            }
            _ => false,
        };
        if true_end {
            Ok(())
        } else {
            Err(Violation::WrongEnd)
        }
    }

    /// Whether somebody follows the session, can find it, or was told.
    fn is_owned(&self, world: &World, session: &Session) -> bool {
        if (self.reported | self.forced) >> session.uid & 1 == 1 {
            return true;
        }
        if self
            .operators
            .iter()
            .any(|operator| operator.holds_acceptance_of(session.id))
        {
            return true;
        }
        self.object
            .filter(|object| object.uid == session.uid)
            .is_some_and(|object| {
                let stored = world.tables.status(object.status);
                match stored.launch {
                    _ if stored.terminal => false,
                    Some(SendState::Confirmed) => stored.session == Some(session.id),
                    Some(SendState::Claimed | SendState::Unknown) => true,
                    // It is reported, and looked for on.
                    Some(SendState::Lost) => true,
                    Some(SendState::Rejected | SendState::Absent) | None => false,
                }
            })
    }

    /// An acceptance that nobody holds any more must be recorded, or reported, or over.
    pub fn check_acceptance(&self, world: &World, uid: u8, id: IdNo) -> Result<(), Violation> {
        let held = self
            .operators
            .iter()
            .any(|operator| operator.is_recording());
        let running = self
            .own_sessions()
            .any(|s| s.id == id && s.uid == uid && s.work == Work::Running);
        let reported = self.reported >> uid & 1 == 1;
        let recorded = self.object.is_some_and(|object| {
            object.uid == uid && world.tables.status(object.status).session == Some(id)
        });
        if held || !running || reported || recorded {
            Ok(())
        } else {
            Err(Violation::AcceptanceLost)
        }
    }

    /// Phases and conditions move forward only.
    pub fn check_progress(
        &self,
        world: &World,
        old: &Stored,
        new: &Stored,
    ) -> Result<(), Violation> {
        let rank = |stored: &Stored| match stored.phase {
            SessionPhase::Pending => 0,
            SessionPhase::Creating => 1,
            SessionPhase::Running => 2,
            SessionPhase::Finished
            | SessionPhase::Error
            | SessionPhase::Cancelled
            | SessionPhase::Expired => 3,
        };
        let confirmed = new.launch == Some(SendState::Confirmed);
        if old.terminal && (old.over || !confirmed) && old.phase != new.phase {
            return Err(Violation::Reopened);
        }
        // Nothing was started: it waits as before its first request.
        let refused = matches!(new.launch, Some(SendState::Rejected | SendState::Absent))
            && new.phase == SessionPhase::Pending;
        let found_again = old.terminal && !old.over && confirmed;
        if rank(new) < rank(old) && !refused && !found_again && world.mutant.is_none() {
            return Err(Violation::Backwards);
        }
        if old.launched && !new.launched {
            return Err(Violation::Backwards);
        }
        Ok(())
    }
}
