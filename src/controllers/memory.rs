//! What this process remembers of a session beside what is stored. All of it may be lost: then it is found out again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use kube_runtime::reflector::ObjectRef;

use super::connection::Linked;
use crate::api::CodeSession;
use crate::domain::ids::ClaimId;
use crate::domain::session::{Look, Lookups, Preflight};
use crate::runtime::lock::lock;

/// What is remembered of one session.
#[derive(Clone, Default)]
pub struct Remembered {
    /// The claim, and when it was first seen by this process's uptime: of a session without a claim, when that was seen.
    pub claim: Option<(Option<ClaimId>, Duration)>,
    /// When this process first saw that the object is being deleted.
    pub deletion: Option<Duration>,
    /// What looks for that claim have shown.
    pub lookups: Lookups,
    /// The newest look at the session.
    pub look: Option<Look>,
    /// When a stop was last sent.
    pub last_stop: Option<Duration>,
    /// Whether the provider has taken a stop.
    pub stop_taken: bool,
    /// When this process last began to look at the ended session.
    pub looked_after_end: Option<Duration>,
    /// Passing faults in a row.
    pub faults: i32,
    /// The newest look before a launch.
    pub preflight: Option<Preflight>,
    /// Whether a launch of this session is under way in this process.
    pub in_flight: bool,
    /// The connection it uses.
    pub attached: Option<Linked>,
    /// Whether an effect of this session is under way outside of its passes, and whether a pass has come in vain meanwhile.
    pub under_way: Option<UnderWay>,
}

/// An effect that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// Whether a pass has come meanwhile: there is something to look at afterwards.
    pub passed: bool,
}

/// The memory of all sessions, by uid.
#[derive(Default)]
pub struct Memory {
    sessions: Mutex<HashMap<String, Remembered>>,
    places: Mutex<HashMap<(String, String), HashSet<String>>>,
    turns: Mutex<HashMap<String, Held>>,
}

/// An issue at an endpoint, on which one launch at a time may be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueKey {
    /// Base URL of the provider.
    pub endpoint: String,
    /// The provider's name of the issue.
    pub issue: String,
}

/// A turn at an issue that a session holds.
struct Held {
    issue: IssueKey,
    since: Duration,
    session: ObjectRef<CodeSession>,
}

impl Memory {
    /// What is remembered of the session with this uid.
    pub fn of(&self, uid: &str) -> Remembered {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Changes what is remembered of the session with this uid.
    pub fn change<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        change(self.lock().entry(uid.to_owned()).or_default())
    }

    /// An effect of the session with this uid begins.
    pub fn begin_effect(&self, uid: &str) {
        self.change(uid, |remembered| {
            remembered.under_way = Some(UnderWay::default());
        });
    }

    /// Whether an effect of the session with this uid is under way; if so, its end remembers that somebody came.
    pub fn passes_effect(&self, uid: &str) -> bool {
        let mut sessions = self.lock();
        match sessions
            .get_mut(uid)
            .and_then(|known| known.under_way.as_mut())
        {
            Some(under_way) => {
                under_way.passed = true;
                true
            }
            None => false,
        }
    }

    /// The effect of the session with this uid has ended; whether somebody came meanwhile.
    pub fn end_effect(&self, uid: &str) -> bool {
        let mut sessions = self.lock();
        let ended = sessions
            .get_mut(uid)
            .and_then(|known| known.under_way.take());
        ended.is_some_and(|under_way| under_way.passed)
    }

    /// The connection that the session with this uid uses.
    pub fn attached(&self, uid: &str) -> Option<Linked> {
        self.lock().get(uid)?.attached.clone()
    }

    /// Forgets the session with this uid.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
        self.leave_place(uid);
        self.leave_turn(uid);
    }

    /// Takes one of `most` places of an agent, counting those in `taken`. Taking it twice is taking it once.
    ///
    /// Places are handed out under one lock: two sessions that are looked at in the same moment cannot both get the last one.
    pub fn take_place(
        &self,
        agent: (&str, &str),
        uid: &str,
        taken: &HashSet<String>,
        ahead: usize,
        most: usize,
    ) -> bool {
        let mut places = lock(&self.places);
        let reserved = places
            .entry((agent.0.to_owned(), agent.1.to_owned()))
            .or_default();
        if reserved.contains(uid) || taken.contains(uid) {
            return true;
        }
        let used = taken.union(reserved).count();
        let free = used.saturating_add(ahead) < most;
        if free {
            reserved.insert(uid.to_owned());
        }
        free
    }

    /// Gives back the place of the session with this uid; answers whether it had one.
    pub fn leave_place(&self, uid: &str) -> bool {
        let mut places = lock(&self.places);
        let mut left = false;
        places.retain(|_, reserved| {
            left |= reserved.remove(uid);
            !reserved.is_empty()
        });
        left
    }

    /// Takes the turn at an issue for the session with this uid: answers with when, by uptime, it was taken, or with the
    /// session whose turn it is. Taking it twice is taking it once.
    ///
    /// Turns are handed out under one lock: two sessions that are looked at in the same moment cannot both get it.
    ///
    /// # Errors
    /// The session whose turn it is.
    pub fn take_turn(
        &self,
        issue: &IssueKey,
        uid: &str,
        session: &ObjectRef<CodeSession>,
        now: Duration,
    ) -> Result<Duration, ObjectRef<CodeSession>> {
        let mut turns = lock(&self.turns);
        if let Some(held) = turns.get(uid).filter(|held| held.issue == *issue) {
            return Ok(held.since);
        }
        if let Some(other) = turns.values().find(|held| held.issue == *issue) {
            return Err(other.session.clone());
        }
        turns.insert(
            uid.to_owned(),
            Held {
                issue: issue.clone(),
                since: now,
                session: session.clone(),
            },
        );
        Ok(now)
    }

    /// Notes that the session with this uid has its turn, because a claim of it is stored; answers with since when.
    pub fn hold_turn(
        &self,
        issue: IssueKey,
        uid: &str,
        session: &ObjectRef<CodeSession>,
        now: Duration,
    ) -> Duration {
        let held = |since| Held {
            issue,
            since,
            session: session.clone(),
        };
        match lock(&self.turns).entry(uid.to_owned()) {
            Entry::Occupied(known) => known.get().since,
            Entry::Vacant(new) => new.insert(held(now)).since,
        }
    }

    /// Gives back the turn of the session with this uid; answers with the issue if it had one.
    pub fn leave_turn(&self, uid: &str) -> Option<IssueKey> {
        lock(&self.turns).remove(uid).map(|held| held.issue)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        lock(&self.sessions)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn issue(name: &str) -> IssueKey {
        IssueKey {
            endpoint: "https://api.example.com".to_owned(),
            issue: name.to_owned(),
        }
    }

    fn session(name: &str) -> ObjectRef<CodeSession> {
        ObjectRef::new(name).within("team-a")
    }

    const fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn one_session_at_a_time_has_the_turn_at_an_issue() {
        let memory = Memory::default();
        let take = |issue: &IssueKey, name: &str, now| {
            memory.take_turn(issue, name, &session(name), second(now))
        };
        let ft_42 = issue("issues/FT-42");
        assert_eq!(take(&ft_42, "a", 1), Ok(second(1)));
        assert_eq!(take(&ft_42, "a", 2), Ok(second(1)), "taken once");
        assert_eq!(take(&ft_42, "b", 3), Err(session("a")));
        assert_eq!(take(&issue("issues/FT-43"), "b", 3), Ok(second(3)));
        let elsewhere = IssueKey {
            endpoint: "https://eu.example.com".to_owned(),
            ..ft_42.clone()
        };
        assert_eq!(take(&elsewhere, "c", 4), Ok(second(4)));
        assert_eq!(memory.leave_turn("a"), Some(ft_42.clone()));
        assert_eq!(memory.leave_turn("a"), None);
        assert_eq!(take(&ft_42, "d", 5), Ok(second(5)));
    }

    #[test]
    fn a_stored_claim_holds_the_turn_whatever_this_process_knew_before() {
        let memory = Memory::default();
        let ft_42 = issue("issues/FT-42");
        let held = memory.hold_turn(ft_42.clone(), "a", &session("a"), second(1));
        assert_eq!(held, second(1));
        let again = memory.hold_turn(ft_42.clone(), "a", &session("a"), second(9));
        assert_eq!(again, second(1));
        let other = memory.take_turn(&ft_42, "b", &session("b"), second(2));
        assert_eq!(other, Err(session("a")));
        memory.forget("a");
        let free = memory.take_turn(&ft_42, "b", &session("b"), second(3));
        assert_eq!(free, Ok(second(3)));
    }
}
