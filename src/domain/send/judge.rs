//! A claim without a known outcome: the request may or may not have arrived. What the next step is, from what this process
//! has seen of it (rules 4, 6 to 8 and 12 of the protocol).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Clock;
use super::seen::Lookups;
use crate::api::SendRecord;
use crate::domain::ids::{AccountFingerprint, LaunchKey};

/// Requests with one key after which no further one is sent.
pub const MOST_POSTS: i32 = 5;

/// How far before the first claim a session of ours may seem to have been created: clocks differ. A window of time saves
/// looks; it never proves absence.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// An open claim, and what this process knows of it.
#[derive(Clone, Copy, Debug)]
pub struct OpenClaim<'a> {
    /// The stored record, in the state `Claimed` or `Unknown`.
    pub record: &'a SendRecord,
    /// Whether a complete look proves that it did not arrive.
    pub provable: bool,
    /// When, by uptime, this process first saw the claim.
    pub first_seen: Option<Duration>,
    /// What looks for it have shown.
    pub lookups: &'a Lookups,
    /// The account that would look now; `None` while it is not known.
    pub account: Option<&'a AccountFingerprint>,
    /// How long after the fence it is worth looking.
    pub patience: Duration,
    /// Whether this process has had the claim long enough to have looked for it. Time that passed while nobody was there to
    /// look ends nothing.
    pub had_its_chance: bool,
    /// Clocks and durations.
    pub clock: Clock<'a>,
}

/// What an open claim needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nobody looks any longer.
    OutOfPatience,
    /// There is no connection to look with.
    NotConnected,
    /// It is proven not to have arrived.
    Absent,
    /// It cannot be found out, and waiting longer tells no more.
    Unknowable,
    /// The next look is due after this.
    Wait(Duration),
    /// The next look is due.
    LookUp,
}

impl OpenClaim<'_> {
    /// What it needs next.
    pub fn next(&self) -> Next {
        if self.out_of_patience() {
            return Next::OutOfPatience;
        }
        if self.account.is_none() {
            return Next::NotConnected;
        }
        // What another account does not see proves nothing (rule 4).
        if self.same_account() {
            if self.provable && self.proven_absent() {
                return Next::Absent;
            }
            if !self.provable && self.looked_in_vain() {
                return Next::Unknowable;
            }
        }
        match self.until_next_look() {
            Some(wait) => Next::Wait(wait),
            None => Next::LookUp,
        }
    }

    /// Whether the account that would look is the one that the request was sent to.
    pub fn same_account(&self) -> bool {
        self.account
            .is_some_and(|account| account.as_str() == self.record.target.account)
    }

    /// Whether no further request is sent with this key.
    pub fn exhausted(&self) -> bool {
        self.record.posts >= MOST_POSTS
    }

    /// The moment after which everything of the newest request shows.
    pub fn fence(&self) -> Fence {
        Fence {
            length: self.clock.timing.fence_after(self.record.posts),
            not_after: self.record.not_after,
            first_seen: self.first_seen,
        }
    }

    /// How long it is until the fence, by one's own clock; `None` once it was passed.
    pub fn until_fence(&self) -> Option<Duration> {
        (self.first_seen? + self.fence().length)
            .checked_sub(self.clock.uptime)
            .filter(|left| !left.is_zero())
    }

    /// How long until the next look; `None` if it is due.
    pub fn until_next_look(&self) -> Option<Duration> {
        let last = self.lookups.last?;
        if self.lookups.goes_on() {
            return None;
        }
        let timing = self.clock.timing;
        let rounds = i32::try_from(self.lookups.absent.len())
            .unwrap_or(i32::MAX)
            .saturating_add(self.lookups.fruitless_in_a_row);
        let pace = match self.fence().passed(self.clock) {
            Some(_) => timing.consistency_window,
            None => timing.fault_wait(rounds),
        };
        // A round without a verdict costs as many requests as the list is long, and another one at once shows the same.
        let pace = pace.max(timing.inconclusive_wait(self.lookups.inconclusive));
        (last + pace)
            .checked_sub(self.clock.uptime)
            .filter(|wait| !wait.is_zero())
    }

    /// What looks by the account that would look now have shown.
    fn own_lookups(&self) -> Option<&Lookups> {
        Some(self.lookups).filter(|lookups| lookups.account.as_ref() == self.account)
    }

    /// When, by uptime, the fence was passed; `None` before it.
    fn fence_at(&self) -> Option<Duration> {
        let past = self.fence().passed(self.clock)?;
        Some(self.clock.uptime.saturating_sub(past))
    }

    /// A look that was begun after the fence told nothing. What has not shown by then is not waited for any longer, but that
    /// is no proof of anything.
    fn looked_in_vain(&self) -> bool {
        let newest = self.own_lookups().and_then(|lookups| lookups.fruitless);
        self.fence_at()
            .zip(newest)
            .is_some_and(|(fence_at, begun)| begun >= fence_at)
    }

    /// Two complete looks, both begun after the fence and one consistency window apart, found nothing.
    fn proven_absent(&self) -> bool {
        let (Some(fence_at), Some(lookups)) = (self.fence_at(), self.own_lookups()) else {
            return false;
        };
        let mut after = lookups.absent.iter().filter(|begun| **begun >= fence_at);
        let first = after.next();
        first.is_some_and(|first| {
            after.any(|later| later.saturating_sub(*first) >= self.clock.timing.consistency_window)
        })
    }

    fn out_of_patience(&self) -> bool {
        self.had_its_chance
            && self
                .fence()
                .passed(self.clock)
                .is_some_and(|past| past >= self.patience)
    }
}

/// The moment by which whatever a claimed request started is visible.
///
/// By one's own monotonic clock since one first saw the claim, or by wall clock with a margin, whichever is earlier.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// Send window, time limit of the request and settle time, as long as this claim's are.
    pub length: Duration,
    /// The end of the claim's send window.
    pub not_after: Timestamp,
    /// When, by uptime, this process first saw the claim.
    pub first_seen: Option<Duration>,
}

impl Fence {
    /// How long ago it was passed; `None` before it.
    pub fn passed(&self, clock: Clock<'_>) -> Option<Duration> {
        let by_monotonic = self
            .first_seen
            .and_then(|seen| clock.uptime.checked_sub(seen + self.length));
        let by_wall = clock
            .since(self.not_after)
            .checked_sub(self.after_window(clock))
            .filter(|_| clock.now > self.not_after);
        by_monotonic.max(by_wall)
    }

    /// How long it is until it is passed, by either clock; zero once it was.
    pub fn left(&self, clock: Clock<'_>) -> Duration {
        let by_monotonic = self.first_seen.map_or(self.length, |seen| {
            (seen + self.length).saturating_sub(clock.uptime)
        });
        let window_left = clock.until(self.not_after);
        let by_wall =
            (window_left + self.after_window(clock)).saturating_sub(clock.since(self.not_after));
        by_monotonic.min(by_wall)
    }

    /// How long after the send window it lies, by wall clock: what is left of it, and how far clocks may differ.
    fn after_window(&self, clock: Clock<'_>) -> Duration {
        self.length.saturating_sub(clock.timing.send_window) + clock.timing.clock_margin
    }
}

/// The first moment at which a session of this launch may seem to have been created: some way before its first claim,
/// because a request that was proven absent may have arrived late after all.
pub fn created_from(record: &SendRecord) -> Timestamp {
    record.first_claim() - CLOCK_SKEW
}

/// Every key that a request of this launch may have been sent with, newest first: the derived ones of each attempt, and the
/// recorded one where it differs, as in a restored copy or a namespace that was made anew.
pub fn lookup_keys(derived: Vec<LaunchKey>, record: Option<&SendRecord>) -> Vec<LaunchKey> {
    let recorded = record
        .map(|record| LaunchKey::recorded(record.key.clone()))
        .filter(|key| !key.as_uuid().is_empty() && !derived.contains(key));
    recorded.into_iter().chain(derived).collect()
}
