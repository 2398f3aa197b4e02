//! Sessions of ours at a provider that no CodeSession accounts for (rules 10 and 12 of the launch protocol): whose they
//! are, and whether they may be stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::clock::ClockDifference;
use super::ids::{AccountFingerprint, InstallationId, LaunchKey, SessionId, SessionSet};
use super::marker::{Marker, MarkerSubject};
use super::send::judge::CLOCK_SKEW;
use super::snapshot::Snapshot;
use super::timing::Timing;
use crate::api::{OrphanPolicy, OrphanReason, SendState};

/// A session that carries a mark of an installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// What was seen of it.
    pub snapshot: Snapshot,
    /// The mark.
    pub mark: Mark,
}

/// What a session says of the launch that made it.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// The marker line under its first prompt.
    Prompt(Marker),
    /// The name that we gave it, where a provider lets nobody read prompts.
    Name {
        /// The installation that gave it.
        installation: InstallationId,
        /// [`LaunchKey::short`] of the launch's key.
        digits: String,
        /// The whole key, if the session's id is made of it.
        key: Option<LaunchKey>,
    },
}

/// What a CodeSession says of its launch.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownSession {
    /// `namespace/name`.
    pub name: String,
    /// The provider sessions that are recorded on it.
    pub recorded: BTreeSet<SessionId>,
    /// Whether one more is recorded on it whose id is only in the set of all that are recorded.
    pub has_unlisted: bool,
    /// The record of its launch.
    pub launch: Option<KnownLaunch>,
    /// Whether it has ended.
    pub ended: bool,
    /// What its CodeAgent says of extra sessions.
    pub policy: OrphanPolicy,
}

/// The record of a launch, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownLaunch {
    /// Its key.
    pub key: LaunchKey,
    /// Where it stands.
    pub state: SendState,
    /// When it was last claimed.
    pub claimed_at: Timestamp,
    /// When the first request that may yet be found was claimed.
    pub first_claimed_at: Timestamp,
    /// How many requests were claimed with this key.
    pub posts: i32,
    /// The account that it was sent to.
    pub account: AccountFingerprint,
}

/// What is known of who owns what: every provider session that is recorded anywhere, and the CodeSessions that matter.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sessions: BTreeMap<String, KnownSession>,
    recorded: SessionSet,
    /// Those recorded on the CodeSessions in `sessions`.
    listed: BTreeSet<SessionId>,
    released: Released,
}

/// Sessions that were left running on purpose, by `deletionPolicy: Orphan`.
#[derive(Clone, Debug, Default)]
pub struct Released {
    /// Uids of the CodeSessions that were deleted.
    pub uids: BTreeSet<String>,
    /// Ids that were reported as released before.
    pub ids: BTreeSet<SessionId>,
}

impl Ledger {
    /// A ledger without CodeSessions; `recorded` are the provider sessions that are recorded on any.
    pub fn new(recorded: SessionSet, released: Released) -> Self {
        Self {
            sessions: BTreeMap::new(),
            recorded,
            listed: BTreeSet::new(),
            released,
        }
    }

    /// Inserts the CodeSession with this uid, or what is newly known of it.
    pub fn insert(&mut self, uid: String, session: KnownSession) {
        self.listed.extend(session.recorded.iter().cloned());
        self.sessions.insert(uid, session);
    }

    /// The CodeSession with this uid is gone.
    pub fn remove(&mut self, uid: &str) {
        self.sessions.remove(uid);
    }

    /// The CodeSession with this uid.
    pub fn session(&self, uid: &str) -> Option<&KnownSession> {
        self.sessions.get(uid)
    }

    /// Whether the provider session is recorded on a CodeSession.
    pub fn is_recorded(&self, session: &SessionId) -> bool {
        self.recorded.contains(session) || self.listed.contains(session)
    }

    /// The CodeSession that the mark names, and whether it does so beyond doubt.
    fn owner(&self, mark: &Mark) -> Option<(&str, &KnownSession, bool)> {
        match mark {
            Mark::Prompt(marker) => {
                let (uid, session) = self.sessions.get_key_value(&marker.uid)?;
                let launch = matches!(marker.subject, MarkerSubject::Launch(_));
                Some((uid, session, launch))
            }
            Mark::Name { digits, key, .. } => {
                let (uid, session, own) = self.sessions.iter().find_map(|(uid, session)| {
                    let own = &session.launch.as_ref()?.key;
                    (own.short() == digits).then_some((uid, session, own))
                })?;
                // Eight digits are a hint, no proof.
                Some((uid, session, key.as_ref() == Some(own)))
            }
        }
    }

    fn was_released(&self, marked: &Marked) -> bool {
        let by_uid = match &marked.mark {
            Mark::Prompt(marker) => self.released.uids.contains(&marker.uid),
            Mark::Name { .. } => false,
        };
        by_uid || self.released.ids.contains(&marked.snapshot.session_id)
    }
}

/// From where a session is judged.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// The account that the session was found with.
    pub account: &'a AccountFingerprint,
    /// The durations.
    pub timing: &'a Timing,
    /// The clock of the provider.
    pub clock: ClockDifference,
    /// When this process first saw the session.
    pub first_seen: Timestamp,
    /// Wall clock.
    pub now: Timestamp,
}

impl Context<'_> {
    /// How long a session has been there. One that its provider says is of the future has been there at least since it was seen.
    fn age(&self, created: Timestamp) -> Duration {
        let since = |then: Timestamp| Duration::try_from(self.now.duration_since(then)).ok();
        since(self.clock.ours(created))
            .or_else(|| since(self.first_seen))
            .unwrap_or_default()
    }
}

/// Whose a session is.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A CodeSession has it.
    Owned,
    /// It may still be recorded: it is too young, or a launch that may have made it is still being looked for.
    TooRecent,
    /// Another installation's.
    Foreign,
    /// Nobody has it, and nothing of it runs.
    Ended,
    /// Nobody has it.
    Orphan(Orphan),
}

/// A session that nobody has.
#[derive(Clone, Debug, PartialEq)]
pub struct Orphan {
    /// Why it is none's.
    pub reason: OrphanReason,
    /// Uid of the CodeSession that its mark names, if that is there.
    pub owner: Option<String>,
    /// Whether it is to be stopped.
    pub stop: Stop,
}

/// Whether an orphan is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is ours beyond doubt, and the CodeAgent wants it.
    Yes,
    /// There is nothing to stop any more.
    Ended,
    /// It is ours beyond doubt, but the CodeAgent does not want it.
    NotWanted,
    /// It is not ours beyond doubt: it is never stopped.
    Never,
}

/// Age from which an accepted launch must have been recorded.
pub fn min_orphan_age(timing: &Timing) -> Duration {
    timing.fence() + timing.clock_margin
}

/// Whose a session is, and what may be done with it.
pub fn judge(marked: &Marked, ledger: &Ledger, context: &Context<'_>) -> Verdict {
    let installation = match &marked.mark {
        Mark::Prompt(marker) => &marker.installation,
        Mark::Name { installation, .. } => installation,
    };
    if installation != context.installation {
        return Verdict::Foreign;
    }
    let snapshot = &marked.snapshot;
    if ledger.is_recorded(&snapshot.session_id) {
        return Verdict::Owned;
    }
    let age = snapshot.created_at.map(|created| context.age(created));
    if age.is_some_and(|age| age < min_orphan_age(context.timing)) {
        return Verdict::TooRecent;
    }
    let ended = snapshot.phase.is_terminal();
    let Some((uid, owner, certain)) = ledger.owner(&marked.mark) else {
        let reason = if ledger.was_released(marked) {
            OrphanReason::Released
        } else {
            OrphanReason::NoCodeSession
        };
        return if ended {
            Verdict::Ended
        } else {
            Verdict::Orphan(Orphan {
                reason,
                owner: None,
                stop: Stop::Never,
            })
        };
    };
    let orphan = |reason, stop| {
        Verdict::Orphan(Orphan {
            reason,
            owner: Some(uid.to_owned()),
            stop,
        })
    };
    let unrecorded = owner.recorded.is_empty() && !owner.has_unlisted;
    match (&owner.launch, unrecorded) {
        // Whoever follows the claim may take it over yet.
        (Some(launch), _) if is_open(launch, owner) => Verdict::TooRecent,
        (Some(launch), false) if launch.state.arrived() => {
            let ours = certain
                && launch.account == *context.account
                && snapshot
                    .created_at
                    .map(|created| context.clock.ours(created))
                    .is_some_and(|created| in_time_of_claim(launch, created, context.timing));
            let stop = match (ours, ended, owner.policy) {
                (_, true, _) => Stop::Ended,
                (false, false, _) => Stop::Never,
                (true, false, OrphanPolicy::Report) => Stop::NotWanted,
                (true, false, OrphanPolicy::Cancel) => Stop::Yes,
            };
            orphan(OrphanReason::Duplicate, stop)
        }
        (Some(_) | None, _) => {
            let stop = if ended { Stop::Ended } else { Stop::Never };
            orphan(OrphanReason::NotRecorded, stop)
        }
    }
}

fn is_open(launch: &KnownLaunch, owner: &KnownSession) -> bool {
    launch.state.is_open() && !owner.ended
}

/// The time in which a lookup for this claim would have taken the session for its own.
fn in_time_of_claim(launch: &KnownLaunch, created: Timestamp, timing: &Timing) -> bool {
    let from = launch.first_claimed_at - CLOCK_SKEW;
    let until = launch.claimed_at + timing.fence_after(launch.posts) + timing.clock_margin;
    (from..=until).contains(&created)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use jiff::ToSpan;

    use super::*;
    use crate::domain::snapshot::{Links, RemotePhase};

    const US: &str = "0a1b2c3d";
    const UID: &str = "uid-1";

    fn noon() -> Timestamp {
        "2026-10-01T12:00:00Z".parse().unwrap()
    }

    /// A running session of attempt 1 of `uid-1`, created a minute after noon.
    fn extra() -> Marked {
        Marked {
            snapshot: Snapshot {
                session_id: SessionId::new("fb_extra"),
                run_id: None,
                phase: RemotePhase::Running,
                raw_status: "RUNNING".into(),
                repository: None,
                url: None,
                branch: None,
                pull_request_url: None,
                blocked: None,
                result: None,
                error: None,
                links: Links::default(),
                usage: None,
                duration: None,
                created_at: Some(noon() + 1.minute()),
            },
            mark: Mark::Prompt(Marker::launch(InstallationId::new(US), UID, 1)),
        }
    }

    /// Its CodeSession, claimed at noon, with another session recorded; the CodeAgent wants extras stopped.
    fn owner() -> KnownSession {
        KnownSession {
            name: "team-a/one".into(),
            recorded: [SessionId::new("fb_recorded")].into(),
            has_unlisted: false,
            launch: Some(KnownLaunch {
                key: LaunchKey::derive("ns", UID, 1),
                state: SendState::Confirmed,
                claimed_at: noon(),
                first_claimed_at: noon(),
                posts: 1,
                account: AccountFingerprint::new("account"),
            }),
            ended: false,
            policy: OrphanPolicy::Cancel,
        }
    }

    fn ledger(owner: KnownSession) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.insert(UID.into(), owner);
        ledger
    }

    fn judged(marked: &Marked, ledger: &Ledger) -> Verdict {
        judged_at(marked, ledger, noon() + 1.hour())
    }

    fn judged_at(marked: &Marked, ledger: &Ledger, now: Timestamp) -> Verdict {
        judged_by(marked, ledger, now, (ClockDifference::default(), now))
    }

    fn judged_by(
        marked: &Marked,
        ledger: &Ledger,
        now: Timestamp,
        (clock, first_seen): (ClockDifference, Timestamp),
    ) -> Verdict {
        let timing = Timing::default();
        let context = Context {
            installation: &InstallationId::new(US),
            account: &AccountFingerprint::new("account"),
            timing: &timing,
            clock,
            first_seen,
            now,
        };
        judge(marked, ledger, &context)
    }

    /// A provider whose clock is twenty minutes off: its sessions are as young as they are, and an extra one is still beyond doubt.
    #[test]
    fn a_session_is_as_old_as_it_is_by_our_clock() {
        let young = noon() + 2.minutes();
        for minutes in [-20, 20] {
            let off = jiff::SignedDuration::from_mins(minutes);
            let clock = ClockDifference::ahead(off);
            let mut marked = extra();
            marked.snapshot.created_at = marked.snapshot.created_at.map(|at| at + off);
            let ledger = ledger(owner());
            let at = |now| judged_by(&marked, &ledger, now, (clock, now));
            assert_eq!(at(young), Verdict::TooRecent, "{minutes}");
            assert_eq!(orphan(at(noon() + 1.hour())).stop, Stop::Yes, "{minutes}");
            // Unmeasured, it is not beyond doubt, but it is not hidden.
            let now = noon() + 1.hour();
            assert_eq!(orphan(judged_at(&marked, &ledger, now)).stop, Stop::Never);
        }
    }

    #[test]
    fn a_session_of_the_future_is_as_old_as_it_was_seen() {
        let mut marked = extra();
        marked.snapshot.created_at = Some(noon() + 1000.hours());
        let ledger = ledger(owner());
        let now = noon() + 1.hour();
        let seen = |first| judged_by(&marked, &ledger, now, (ClockDifference::default(), first));
        assert_eq!(seen(now - 1.minute()), Verdict::TooRecent);
        assert_eq!(orphan(seen(now - 30.minutes())).stop, Stop::Never);
    }

    fn orphan(verdict: Verdict) -> Orphan {
        match verdict {
            Verdict::Orphan(orphan) => orphan,
            other => panic!("{other:?}"),
        }
    }

    fn change_launch(owner: &mut KnownSession, change: impl FnOnce(&mut KnownLaunch)) {
        change(owner.launch.as_mut().unwrap());
    }

    #[test]
    fn an_extra_session_that_is_ours_beyond_doubt_is_stopped_if_the_agent_wants_it() {
        let found = orphan(judged(&extra(), &ledger(owner())));
        assert_eq!(found.reason, OrphanReason::Duplicate);
        assert_eq!(found.owner.as_deref(), Some(UID));
        assert_eq!(found.stop, Stop::Yes);
        let mut cautious = owner();
        cautious.policy = OrphanPolicy::Report;
        assert_eq!(
            orphan(judged(&extra(), &ledger(cautious))).stop,
            Stop::NotWanted
        );
    }

    #[test]
    fn what_is_recorded_is_owned_by_whomever() {
        let mut marked = extra();
        marked.snapshot.session_id = SessionId::new("fb_recorded");
        assert_eq!(judged(&marked, &ledger(owner())), Verdict::Owned);
        // Also by a CodeSession that the mark does not name, as after a hand-over.
        marked.mark = Mark::Prompt(Marker::launch(InstallationId::new(US), "uid-2", 1));
        assert_eq!(judged(&marked, &ledger(owner())), Verdict::Owned);
    }

    #[test]
    fn another_installations_session_is_foreign_even_with_a_uid_of_ours() {
        let mut marked = extra();
        marked.mark = Mark::Prompt(Marker::launch(InstallationId::new("ffffffff"), UID, 1));
        assert_eq!(judged(&marked, &ledger(owner())), Verdict::Foreign);
    }

    #[test]
    fn within_the_fence_and_its_margin_nothing_is_an_orphan_yet() {
        let grown = noon() + 1.minute() + min_orphan_age(&Timing::default());
        for uid in [UID, "unknown"] {
            let mut marked = extra();
            marked.mark = Mark::Prompt(Marker::launch(InstallationId::new(US), uid, 1));
            let before = judged_at(&marked, &ledger(owner()), grown - 1.second());
            assert_eq!(before, Verdict::TooRecent, "{uid}");
            let after = judged_at(&marked, &ledger(owner()), grown);
            assert!(matches!(after, Verdict::Orphan(_)), "{uid}: {after:?}");
        }
    }

    #[test]
    fn while_a_launch_is_looked_for_its_session_may_still_be_taken_over() {
        for state in [SendState::Claimed, SendState::Unknown] {
            let mut open = owner();
            open.recorded.clear();
            change_launch(&mut open, |launch| launch.state = state);
            assert_eq!(judged(&extra(), &ledger(open.clone())), Verdict::TooRecent);
            // Whoever has given up takes nothing over any more.
            open.ended = true;
            let found = orphan(judged(&extra(), &ledger(open)));
            assert_eq!(found.reason, OrphanReason::NotRecorded);
            assert_eq!(found.stop, Stop::Never);
        }
    }

    #[test]
    fn without_an_adopted_id_nothing_is_stopped() {
        for state in [SendState::Rejected, SendState::Absent] {
            let mut unrecorded = owner();
            unrecorded.recorded.clear();
            change_launch(&mut unrecorded, |launch| launch.state = state);
            let found = orphan(judged(&extra(), &ledger(unrecorded)));
            assert_eq!(found.reason, OrphanReason::NotRecorded);
            assert_eq!(found.stop, Stop::Never);
        }
        let mut blank = owner();
        blank.recorded.clear();
        blank.launch = None;
        let found = orphan(judged(&extra(), &ledger(blank)));
        assert_eq!(found.reason, OrphanReason::NotRecorded);
        assert_eq!(found.stop, Stop::Never);
    }

    #[test]
    fn an_extra_session_of_another_time_or_account_is_only_reported() {
        let timing = Timing::default();
        let latest = noon() + timing.fence_after(1) + timing.clock_margin;
        for (created, stop) in [
            (Some(noon() - 10.minutes()), Stop::Yes),
            (Some(noon() - 10.minutes() - 1.second()), Stop::Never),
            (Some(latest), Stop::Yes),
            (Some(latest + 1.second()), Stop::Never),
            (None, Stop::Never),
        ] {
            let mut marked = extra();
            marked.snapshot.created_at = created;
            let found = orphan(judged(&marked, &ledger(owner())));
            assert_eq!(found.reason, OrphanReason::Duplicate);
            assert_eq!(found.stop, stop, "{created:?}");
        }
        let mut elsewhere = owner();
        change_launch(&mut elsewhere, |launch| {
            launch.account = AccountFingerprint::new("another");
        });
        assert_eq!(
            orphan(judged(&extra(), &ledger(elsewhere))).stop,
            Stop::Never
        );
    }

    #[test]
    fn an_unknown_uid_is_only_reported_and_only_while_something_runs() {
        let mut marked = extra();
        marked.mark = Mark::Prompt(Marker::launch(InstallationId::new(US), "copied", 1));
        let found = orphan(judged(&marked, &ledger(owner())));
        assert_eq!(found.reason, OrphanReason::NoCodeSession);
        assert_eq!((found.owner, found.stop), (None, Stop::Never));
        marked.snapshot.phase = RemotePhase::Finished;
        assert_eq!(judged(&marked, &ledger(owner())), Verdict::Ended);
    }

    #[test]
    fn what_was_left_running_on_purpose_stays_so() {
        let by_uid = Released {
            uids: [UID.to_owned()].into(),
            ..Released::default()
        };
        let by_id = Released {
            ids: [SessionId::new("fb_extra")].into(),
            ..Released::default()
        };
        for released in [by_uid, by_id] {
            let found = orphan(judged(
                &extra(),
                &Ledger::new(SessionSet::default(), released),
            ));
            assert_eq!(found.reason, OrphanReason::Released);
            assert_eq!(found.stop, Stop::Never);
        }
    }

    #[test]
    fn an_extra_session_that_has_ended_was_still_paid_for() {
        let mut marked = extra();
        marked.snapshot.phase = RemotePhase::Finished;
        let found = orphan(judged(&marked, &ledger(owner())));
        assert_eq!(found.reason, OrphanReason::Duplicate);
        assert_eq!(found.stop, Stop::Ended);
    }

    #[test]
    fn a_follow_up_with_our_marker_is_never_stopped() {
        let mut marked = extra();
        marked.mark = Mark::Prompt(Marker {
            installation: InstallationId::new(US),
            uid: UID.into(),
            subject: MarkerSubject::Message("add-tests".into()),
        });
        assert_eq!(orphan(judged(&marked, &ledger(owner()))).stop, Stop::Never);
    }

    #[test]
    fn eight_digits_of_a_key_name_the_session_but_prove_nothing() {
        let own = LaunchKey::derive("ns", UID, 1);
        for (key, stop) in [(Some(own.clone()), Stop::Yes), (None, Stop::Never)] {
            let mut marked = extra();
            marked.mark = Mark::Name {
                installation: InstallationId::new(US),
                digits: own.short().to_owned(),
                key,
            };
            let found = orphan(judged(&marked, &ledger(owner())));
            assert_eq!(found.reason, OrphanReason::Duplicate);
            assert_eq!(found.stop, stop);
        }
    }
}
