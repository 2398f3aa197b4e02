//! Time inside a simulator: monotonic, so that no state ever runs backwards, and movable forwards, so that a test need not wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::options::TimeFlow;

/// A point of simulated time, as the distance from the simulator's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The start of the simulator.
    pub(crate) const START: Self = Self(Duration::ZERO);
    /// Later than anything that happens.
    pub(crate) const NEVER: Self = Self(Duration::MAX);

    /// The moment `wait` later.
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The clock that every state of one simulator is computed from.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    flow: TimeFlow,
    wall_start: Timestamp,
    skipped_ms: AtomicU64,
}

impl Clock {
    /// A clock that begins `offset` away from the host's.
    pub(crate) fn start(flow: TimeFlow, offset: SignedDuration) -> Self {
        Self {
            started: Instant::now(),
            flow,
            wall_start: Timestamp::now()
                .checked_add(offset)
                .unwrap_or(Timestamp::MAX),
            skipped_ms: AtomicU64::new(0),
        }
    }

    /// The present moment: elapsed time, if it counts, plus everything that was skipped.
    pub fn now(&self) -> Moment {
        let skipped = Duration::from_millis(self.skipped_ms.load(Ordering::Relaxed));
        match self.flow {
            TimeFlow::Real => Moment(self.started.elapsed().saturating_add(skipped)),
            TimeFlow::Manual => Moment(skipped),
        }
    }

    /// Moves the clock forwards, for every session at once.
    pub fn advance(&self, by: Duration) {
        let milliseconds = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.skipped_ms.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Wall-clock time of a moment. It follows the monotonic clock: later adjustments of the host's clock are not seen.
    pub fn timestamp(&self, moment: Moment) -> Timestamp {
        self.wall_start
            .checked_add(moment.0)
            .unwrap_or(Timestamp::MAX)
    }

    /// A moment as the providers print it: RFC 3339, UTC, milliseconds.
    pub fn iso(&self, moment: Moment) -> String {
        format!("{:.3}", self.timestamp(moment))
    }

    /// The present as the header `Date` writes it.
    pub(crate) fn http_date(&self) -> String {
        self.timestamp(self.now())
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string()
    }

    pub(crate) fn unix_millis(&self, moment: Moment) -> i64 {
        self.timestamp(moment).as_millisecond()
    }
}
