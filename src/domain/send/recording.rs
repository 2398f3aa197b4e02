//! Storing the outcome of a request until it is stored, or undoing what nobody is left to own (rule 9). Without I/O: whoever
//! holds the outcome asks what to do next and says what came of it.
//!
//! A recording never gives up. It ends when the outcome is stored, when somebody else has settled the claim, or when the
//! object is gone and what was accepted is stopped for certain or reported.

use std::time::Duration;

use super::Clock;
use crate::api::{CodeSessionStatus, DeletionPolicy, SendRecord, SendState};
use crate::domain::ids::ClaimId;
use crate::domain::remote::{CancelAnswer, CancelVisibility};
use crate::domain::status::entry;

/// The request whose outcome is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The claim that it was sent under.
    pub claim: &'a ClaimId,
    /// The id that the provider gave what it accepted, if it did: of a launch the session's.
    pub accepted: Option<&'a str>,
    /// What the deletion of its object does at the provider.
    pub policy: DeletionPolicy,
    /// Where the provider shows that a session was stopped.
    pub cancel_visibility: CancelVisibility,
}

/// Where a recording stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recording {
    /// Tries in a row that failed, for waiting times.
    tries: i32,
    /// Since when, by uptime, what was accepted is being undone.
    undoing_since: Option<Duration>,
    /// Whether the provider has taken a stop.
    stop_taken: bool,
    /// When, by uptime, the first of the looks came in that have shown the same since the provider took a stop.
    silent_since: Option<Duration>,
    /// Whether the last write ended without an answer: writes may fail where reads go on, as when the store is full.
    write_failed: bool,
}

/// What is stored of a send.
#[derive(Clone, Copy, Debug)]
pub struct StoredSend<'a> {
    /// Its record.
    pub record: Option<&'a SendRecord>,
    /// The id that is recorded of what it started.
    pub id: Option<&'a str>,
}

impl<'a> StoredSend<'a> {
    /// What is stored of a session's launch.
    pub fn launch(status: Option<&'a CodeSessionStatus>) -> Self {
        Self {
            record: status.and_then(|status| status.launch.as_ref()),
            id: status
                .and_then(|status| status.provider.as_ref())
                .and_then(|provider| provider.session_id.as_deref()),
        }
    }

    /// What is stored of the message of this name.
    pub fn message(status: Option<&'a CodeSessionStatus>, name: &str) -> Self {
        let entry = status.and_then(|status| entry(status, name));
        let record = entry.and_then(|entry| entry.send.as_ref());
        let session = status
            .and_then(|status| status.provider.as_ref())
            .and_then(|provider| provider.session_id.as_deref());
        let arrived = record.is_some_and(|record| record.state.arrived());
        Self {
            record,
            id: entry
                .and_then(|entry| entry.run_id.as_deref())
                .or(session)
                .filter(|_| arrived),
        }
    }
}

/// What came of the last step.
#[derive(Clone, Debug)]
pub enum Saw<'a> {
    /// Nothing yet.
    Begun,
    /// The outcome is stored, or leaves nothing to be stored.
    Stored,
    /// Somebody else has written since, or the object is gone.
    Overtaken,
    /// The API server does not take the write: one that has just started refuses what it will soon allow.
    Refused,
    /// It is not known whether the write was stored.
    Failed,
    /// The object could not be read.
    Unreadable,
    /// The pause is over.
    Paused,
    /// What is stored now; `None` if the object is gone, also where another one has its name.
    Fresh(Option<StoredSend<'a>>),
    /// The provider's answer to a stop; `None` if it failed.
    Stop(Option<CancelAnswer>),
    /// What a look shows; `None` if it failed.
    Polled(Option<Shown>),
    /// People were told.
    Reported,
}

/// What a look shows of a session that is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is over.
    Over,
    /// It is not, and nothing of it has moved since the look before.
    Unchanged,
    /// It is not, and something has, or there was no look before.
    Changed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Conclude from the outcome on the newest version of the object, and store that.
    Record,
    /// Read the object.
    Read,
    /// Wait.
    Pause(Duration),
    /// Stop the accepted session: nobody is left to own it.
    Stop,
    /// Poll whether it is over.
    Poll,
    /// Tell people.
    Report(Loss),
    /// The recording is over.
    Done,
}

/// What people are told of an accepted session that is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another request of the same launch is recorded: this one is the extra. It is reported, not touched.
    Extra,
    /// Its object is gone, and it was left running as the deletion policy asks.
    LeftRunning,
    /// Its object is gone, and it could not be stopped for certain.
    NotStopped,
}

impl Recording {
    /// What to do after what was seen last.
    pub fn next(&mut self, sent: Sent<'_>, saw: Saw<'_>, clock: Clock<'_>) -> Do {
        match saw {
            Saw::Begun => Do::Record,
            Saw::Stored | Saw::Reported => Do::Done,
            Saw::Overtaken => Do::Read,
            // The answer to a write of ours may have been lost: what is stored tells.
            Saw::Failed => {
                self.write_failed = true;
                Do::Read
            }
            Saw::Refused | Saw::Unreadable => self.pause(clock),
            Saw::Paused if self.undoing_since.is_some() => Do::Stop,
            Saw::Paused => Do::Read,
            Saw::Fresh(None) => self.undo(sent, clock),
            Saw::Fresh(Some(stored)) => match claim_state(stored, sent) {
                ClaimState::Open if std::mem::take(&mut self.write_failed) => self.pause(clock),
                ClaimState::Open => Do::Record,
                ClaimState::Stored => Do::Done,
                ClaimState::Superseded => match sent.accepted {
                    Some(_) => Do::Report(Loss::Extra),
                    None => Do::Done,
                },
            },
            Saw::Stop(answer) => {
                match answer {
                    Some(CancelAnswer::Accepted) => self.stop_taken = true,
                    Some(CancelAnswer::Unsupported) => return Do::Report(Loss::NotStopped),
                    Some(CancelAnswer::NotCancellable(_)) | None => {}
                }
                Do::Poll
            }
            // It is over: by our stop, or by itself.
            Saw::Polled(Some(Shown::Over)) => Do::Done,
            Saw::Polled(look) if self.silently_stopped(sent, look, clock) => Do::Done,
            Saw::Polled(_) => {
                let overdue = self.undoing_since.is_some_and(|since| {
                    clock.uptime.saturating_sub(since) >= clock.timing.deletion_bound
                });
                if overdue {
                    Do::Report(Loss::NotStopped)
                } else {
                    self.pause(clock)
                }
            }
        }
    }

    /// Whether a stop was taken.
    pub fn stop_taken(&self) -> bool {
        self.stop_taken
    }

    /// The same, without the count of tries: what waits differ in only.
    #[must_use]
    pub fn without_tries(self) -> Self {
        Self { tries: 0, ..self }
    }

    /// Whether the session counts as stopped at a provider that shows that nowhere: as for a session whose object is there, a
    /// stop was taken, and looks since then have shown that nothing moves for long enough.
    fn silently_stopped(&mut self, sent: Sent<'_>, look: Option<Shown>, clock: Clock<'_>) -> bool {
        if sent.cancel_visibility != CancelVisibility::Unobservable || !self.stop_taken {
            return false;
        }
        let since = match look {
            Some(Shown::Unchanged) => *self.silent_since.get_or_insert(clock.uptime),
            Some(Shown::Changed | Shown::Over) => *self.silent_since.insert(clock.uptime),
            None => {
                self.silent_since = None;
                return false;
            }
        };
        clock.uptime.saturating_sub(since) >= clock.timing.stop_silence
    }

    fn pause(&mut self, clock: Clock<'_>) -> Do {
        self.tries = self.tries.saturating_add(1);
        Do::Pause(clock.timing.fault_wait(self.tries))
    }

    /// The object is gone: what its deletion would have done is done now.
    fn undo(&mut self, sent: Sent<'_>, clock: Clock<'_>) -> Do {
        match (sent.accepted, sent.policy) {
            (None, _) => Do::Done,
            (Some(_), DeletionPolicy::Orphan) => Do::Report(Loss::LeftRunning),
            (Some(_), DeletionPolicy::Cancel) => {
                self.undoing_since = Some(clock.uptime);
                self.tries = 0;
                Do::Stop
            }
        }
    }
}

/// Where the claim stands in the store, when its outcome could not be stored at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClaimState {
    /// It is still open: conclude again on this version.
    Open,
    /// The outcome is there: the answer to our write was lost.
    Stored,
    /// Somebody else has claimed or recorded since.
    Superseded,
}

fn claim_state(stored: StoredSend<'_>, sent: Sent<'_>) -> ClaimState {
    match (stored.record, stored.id) {
        (_, Some(id)) if sent.accepted == Some(id) => ClaimState::Stored,
        (Some(record), None) if record.claim_id == sent.claim.as_str() => match record.state {
            SendState::Claimed | SendState::Unknown => ClaimState::Open,
            // An acceptance is news, whatever was judged without it.
            SendState::Rejected | SendState::Absent if sent.accepted.is_some() => ClaimState::Open,
            SendState::Confirmed | SendState::Rejected | SendState::Absent | SendState::Lost => {
                ClaimState::Stored
            }
        },
        _ => ClaimState::Superseded,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::domain::timing::Timing;

    fn record(state: &str, claim: &str) -> SendRecord {
        serde_json::from_value(json!({
            "key": "key", "attempt": 1, "claimId": claim, "posts": 1, "state": state,
            "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z",
            "target": {
                "kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.cursor.com",
                "account": "account", "secretRef": "key/api-key",
            },
            "requestDigest": "digest",
        }))
        .unwrap()
    }

    /// A recording of what came of the claim `ours`, step by step.
    struct Tape {
        recording: Recording,
        claim: ClaimId,
        accepted: Option<&'static str>,
        policy: DeletionPolicy,
        cancel_visibility: CancelVisibility,
        timing: Timing,
        uptime: Duration,
    }

    impl Tape {
        fn new(accepted: Option<&'static str>) -> Self {
            Self {
                recording: Recording::default(),
                claim: ClaimId::new("ours"),
                accepted,
                policy: DeletionPolicy::Cancel,
                cancel_visibility: CancelVisibility::InStatus,
                timing: Timing::default(),
                uptime: Duration::ZERO,
            }
        }

        fn sees(&mut self, saw: Saw<'_>) -> Do {
            let sent = Sent {
                claim: &self.claim,
                accepted: self.accepted,
                policy: self.policy,
                cancel_visibility: self.cancel_visibility,
            };
            let clock = Clock {
                now: Timestamp::UNIX_EPOCH,
                uptime: self.uptime,
                timing: &self.timing,
            };
            let next = self.recording.next(sent, saw, clock);
            if let Do::Pause(pause) = next {
                self.uptime += pause;
            }
            next
        }
    }

    const NOT_STORED: [Saw<'static>; 2] = [Saw::Refused, Saw::Unreadable];

    /// An acceptance whose record met another version is stored as long as no id is; anything else only while its claim is open.
    #[test]
    fn what_may_still_be_recorded() {
        let cases = [
            ("Claimed", "ours", None, Do::Record, Do::Record),
            ("Unknown", "ours", None, Do::Record, Do::Record),
            ("Absent", "ours", None, Do::Record, Do::Done),
            ("Rejected", "ours", None, Do::Record, Do::Done),
            ("Confirmed", "ours", Some("bc-1"), Do::Done, Do::Done),
            (
                "Confirmed",
                "ours",
                Some("bc-2"),
                Do::Report(Loss::Extra),
                Do::Done,
            ),
            (
                "Claimed",
                "another",
                None,
                Do::Report(Loss::Extra),
                Do::Done,
            ),
        ];
        for (state, claim, id, after_acceptance, after_unknown) in cases {
            let record = record(state, claim);
            let stored = StoredSend {
                record: Some(&record),
                id,
            };
            for (accepted, expected) in [(Some("bc-1"), after_acceptance), (None, after_unknown)] {
                let mut tape = Tape::new(accepted);
                assert_eq!(tape.sees(Saw::Begun), Do::Record);
                assert_eq!(tape.sees(Saw::Overtaken), Do::Read);
                let next = tape.sees(Saw::Fresh(Some(stored)));
                assert_eq!(next, expected, "{state}, {claim}, {id:?}, {accepted:?}");
            }
        }
    }

    #[test]
    fn it_goes_on_for_as_long_as_nothing_can_be_stored() {
        let record = record("Claimed", "ours");
        let open = StoredSend {
            record: Some(&record),
            id: None,
        };
        let mut tape = Tape::new(Some("bc-1"));
        for round in 0..10_000 {
            for saw in NOT_STORED {
                assert!(matches!(tape.sees(saw), Do::Pause(_)), "{round}");
                assert_eq!(tape.sees(Saw::Paused), Do::Read);
            }
            assert_eq!(tape.sees(Saw::Fresh(Some(open))), Do::Record);
            // Writes fail and reads go on: without a pause this would be a busy loop.
            assert_eq!(tape.sees(Saw::Failed), Do::Read);
            assert!(matches!(tape.sees(Saw::Fresh(Some(open))), Do::Pause(_)));
            assert_eq!(tape.sees(Saw::Paused), Do::Read);
        }
        assert_eq!(tape.sees(Saw::Fresh(Some(open))), Do::Record);
        assert_eq!(tape.sees(Saw::Stored), Do::Done);
    }

    #[test]
    fn only_a_look_that_shows_the_end_counts_as_stopped() {
        for answer in [
            Some(CancelAnswer::Accepted),
            Some(CancelAnswer::NotCancellable(None)),
            None,
        ] {
            let mut tape = Tape::new(Some("bc-1"));
            assert_eq!(tape.sees(Saw::Fresh(None)), Do::Stop);
            assert_eq!(tape.sees(Saw::Stop(answer.clone())), Do::Poll);
            for look in [Some(Shown::Changed), Some(Shown::Unchanged), None] {
                assert!(matches!(tape.sees(Saw::Polled(look)), Do::Pause(_)));
                assert_eq!(tape.sees(Saw::Paused), Do::Stop, "a stop is repeated");
                assert_eq!(tape.sees(Saw::Stop(answer.clone())), Do::Poll);
            }
            let over = Saw::Polled(Some(Shown::Over));
            assert_eq!(tape.sees(over), Do::Done, "{answer:?}");
        }
    }

    #[test]
    fn what_cannot_be_stopped_within_the_deletion_bound_is_reported() {
        let mut tape = Tape::new(Some("bc-1"));
        assert_eq!(tape.sees(Saw::Fresh(None)), Do::Stop);
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert_eq!(tape.sees(Saw::Stop(Some(CancelAnswer::Accepted))), Do::Poll);
            match tape.sees(Saw::Polled(Some(Shown::Unchanged))) {
                Do::Pause(_) => assert_eq!(tape.sees(Saw::Paused), Do::Stop),
                next => {
                    assert_eq!(next, Do::Report(Loss::NotStopped));
                    break;
                }
            }
        }
        assert!((5..60).contains(&rounds), "{rounds}");
        assert!(tape.uptime >= tape.timing.deletion_bound);
        assert_eq!(tape.sees(Saw::Reported), Do::Done);
    }

    /// Where no status says that a session was stopped, silence after a stop that was taken does, as while the object is there.
    #[test]
    fn where_a_stop_shows_nowhere_silence_after_it_counts_as_stopped() {
        for taken in [true, false] {
            let mut tape = Tape {
                cancel_visibility: CancelVisibility::Unobservable,
                ..Tape::new(Some("bc-1"))
            };
            let answer = || taken.then_some(CancelAnswer::Accepted);
            // It moves on for a while after the first stop.
            let moves = tape.timing.stop_silence * 2;
            let mut moved = Duration::ZERO;
            assert_eq!(tape.sees(Saw::Fresh(None)), Do::Stop);
            let next = loop {
                assert_eq!(tape.sees(Saw::Stop(answer())), Do::Poll);
                let shown = match tape.uptime < moves {
                    true => Shown::Changed,
                    false => Shown::Unchanged,
                };
                if shown == Shown::Changed {
                    moved = tape.uptime;
                }
                match tape.sees(Saw::Polled(Some(shown))) {
                    Do::Pause(_) => assert_eq!(tape.sees(Saw::Paused), Do::Stop),
                    next => break next,
                }
            };
            let still = tape.uptime - moved;
            if taken {
                assert_eq!(next, Do::Done);
                let (least, longest) = (tape.timing.stop_silence, tape.timing.fault_wait_max);
                assert!(still >= least && still <= least + longest * 2, "{still:?}");
            } else {
                assert_eq!(next, Do::Report(Loss::NotStopped));
                assert!(tape.uptime >= tape.timing.deletion_bound);
            }
        }
    }

    #[test]
    fn what_no_stop_can_reach_is_reported_at_once() {
        let mut tape = Tape::new(Some("s-1"));
        assert_eq!(tape.sees(Saw::Fresh(None)), Do::Stop);
        let next = tape.sees(Saw::Stop(Some(CancelAnswer::Unsupported)));
        assert_eq!(next, Do::Report(Loss::NotStopped));
        let mut tape = Tape {
            policy: DeletionPolicy::Orphan,
            ..Tape::new(Some("s-1"))
        };
        assert_eq!(tape.sees(Saw::Fresh(None)), Do::Report(Loss::LeftRunning));
        assert_eq!(Tape::new(None).sees(Saw::Fresh(None)), Do::Done);
    }
}
