//! What this process remembers of a session beside what is stored. All of it may be lost: then it is found out again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::connection::links::Linked;
use crate::domain::ids::ClaimId;
use crate::domain::session::{BaselineRead, Lookups, Poll};
use crate::runtime::lock::lock;

/// What is remembered of one session.
#[derive(Clone, Default)]
pub struct Remembered {
    /// The claim, and when it was first seen by this process's uptime: of a session without a claim, when that was seen.
    pub claim: Option<(Option<ClaimId>, Duration)>,
    /// When this process first saw that the object is being deleted.
    pub deletion: Option<Duration>,
    /// What lookups of that claim have shown.
    pub lookups: Lookups,
    /// The newest poll of the session.
    pub poll: Option<Poll>,
    /// When a stop was last sent.
    pub last_stop: Option<Duration>,
    /// Whether the provider has taken a stop.
    pub stop_taken: bool,
    /// When this process last began to poll the ended session.
    pub polled_after_end: Option<Duration>,
    /// When the session, which is over, is polled next.
    pub next_poll: Option<Duration>,
    /// Passing faults in a row.
    pub faults: i32,
    /// The newest baseline that was read.
    pub baseline_read: Option<BaselineRead>,
    /// Whether a launch of this session is under way in this process.
    pub in_flight: bool,
    /// Whether this process has sent its launch with a webhook.
    pub reports: bool,
    /// Since when, by uptime, its launch waits for a permit of its connection.
    pub queued_since: Option<Duration>,
    /// The connection it uses.
    pub attached: Option<Linked>,
    /// Whether an effect of this session is under way outside of its passes, and whether a pass has come in vain meanwhile.
    pub under_way: Option<UnderWay>,
}

impl Remembered {
    /// The claim, if there is one.
    pub fn claim_id(&self) -> Option<&ClaimId> {
        self.claim.as_ref()?.0.as_ref()
    }

    /// Takes in what a call has shown that was begun under `claim`. If somebody else has claimed meanwhile, it was read too early to say
    /// anything of what is there now.
    pub fn learn(
        &mut self,
        claim: Option<&ClaimId>,
        lookups: Option<&Lookups>,
        baseline_read: Option<&BaselineRead>,
    ) {
        if self.claim_id() != claim {
            return;
        }
        if let Some(lookups) = lookups {
            self.lookups.clone_from(lookups);
        }
        if let Some(baseline_read) = baseline_read {
            self.baseline_read = Some(baseline_read.clone());
        }
    }
}

/// An effect that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// Whether a pass has come meanwhile: there is something to look at afterwards.
    pub passed: bool,
    /// Whether it stops the session, which records itself that this is wanted.
    pub stops: bool,
}

/// The memory of all sessions, by uid.
#[derive(Default)]
pub struct Memory {
    sessions: Mutex<HashMap<String, Remembered>>,
}

impl Memory {
    /// What is remembered of the session with this uid.
    pub fn of(&self, uid: &str) -> Remembered {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Begins to remember the session with this uid, if it is not remembered yet, and changes what is.
    pub fn begin<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        change(self.lock().entry(uid.to_owned()).or_default())
    }

    /// When, by uptime, the session with this uid, which is over, is looked at next: `None` if nothing is remembered of it, zero if
    /// that is not known.
    pub fn next_poll(&self, uid: &str) -> Option<Duration> {
        let sessions = self.lock();
        sessions
            .get(uid)
            .map(|known| known.next_poll.unwrap_or_default())
    }

    /// Changes what is remembered of the session with this uid. Of one that was forgotten meanwhile nothing is remembered anew:
    /// nobody would forget it again.
    pub fn change<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        match self.lock().get_mut(uid) {
            Some(remembered) => change(remembered),
            None => change(&mut Remembered::default()),
        }
    }

    /// An effect of the session with this uid begins.
    pub fn begin_effect(&self, uid: &str, stops: bool) {
        self.change(uid, |remembered| {
            remembered.queued_since = None;
            remembered.under_way = Some(UnderWay {
                passed: false,
                stops,
            });
        });
    }

    /// The effect of the session with this uid that is under way, if one is; its end remembers that somebody came.
    pub fn passes_effect(&self, uid: &str) -> Option<UnderWay> {
        let mut sessions = self.lock();
        let under_way = sessions.get_mut(uid)?.under_way.as_mut()?;
        under_way.passed = true;
        Some(*under_way)
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
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        lock(&self.sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AccountFingerprint;

    /// What comes in after a session was forgotten does not bring it back.
    #[test]
    fn what_was_forgotten_stays_forgotten() {
        let memory = Memory::default();
        memory.begin("a", |remembered| remembered.faults = 2);
        assert_eq!(memory.change("a", |remembered| remembered.faults), 2);
        memory.forget("a");
        memory.change("a", |remembered| remembered.in_flight = false);
        assert!(memory.lock().is_empty());
    }

    /// Two operators that both act: the other one has claimed and sent while this one still read what was there before.
    #[test]
    fn what_was_read_under_another_claim_says_nothing_of_this_one() {
        let claimed = |claim: &str| Remembered {
            claim: Some((Some(ClaimId::new(claim.to_owned())), Duration::ZERO)),
            ..Remembered::default()
        };
        let before = ClaimId::new("first".to_owned());
        let baseline = BaselineRead {
            account: AccountFingerprint::new("account"),
            begun: Duration::ZERO,
            ended: Duration::from_secs(1),
            failures: 0,
            result: Ok(Some("run-1".to_owned())),
        };
        let lookups = Lookups {
            absent: vec![Duration::ZERO],
            ..Lookups::default()
        };
        for (now, counts) in [("first", true), ("second", false)] {
            let mut remembered = claimed(now);
            remembered.learn(Some(&before), Some(&lookups), Some(&baseline));
            assert_eq!(remembered.baseline_read.is_some(), counts, "{now}");
            assert_eq!(!remembered.lookups.absent.is_empty(), counts, "{now}");
        }
    }
}
