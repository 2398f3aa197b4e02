//! Every duration that decides something, in one place, so that they can be checked against each other.

use std::time::Duration;

/// The durations of the launch protocol and of the lifecycle. Tests scale them down; the relations are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// W: how long after the claim a launch may still be sent. Default: 20 s.
    pub send_window: Duration,
    /// T: total time limit of a launch request. Default: 100 s.
    pub post_timeout: Duration,
    /// S: after which an accepted request is assumed visible. Default: 180 s.
    pub settle: Duration,
    /// How far apart the two looks must begin that prove a launch absent. Default: 15 s.
    pub consistency_window: Duration,
    /// How far clocks may differ. Default: 30 s.
    pub clock_margin: Duration,
    /// How long a deletion may take. Default: 10 min.
    pub deletion_bound: Duration,
    /// What the deletion bound must leave after the fence. Default: 5 min.
    pub deletion_slack: Duration,
    /// How long the operator goes on looking for a launch that should be findable. Default: 1 h.
    pub unknown_patience: Duration,
    /// First waiting time after a refusal that somebody has to mend; it doubles. Default: 5 min.
    pub refusal_wait_min: Duration,
    /// Longest waiting time after such a refusal. Default: 1 h.
    pub refusal_wait_max: Duration,
    /// First waiting time after a transient fault; it doubles. Default: 2 s.
    pub fault_wait_min: Duration,
    /// Longest waiting time after transient faults. Default: 60 s.
    pub fault_wait_max: Duration,
    /// How often things that cannot be watched (Secrets, prompt sources) are looked at while a session waits for them. Default: 10 s.
    pub recheck: Duration,
    /// Age from which an object without a claim is looked for at the provider before its first launch: it may come from a
    /// backup. Default: 10 min.
    pub stale_age: Duration,
    /// Shortest time between two looks at a session. Default: 3 s.
    pub poll_min: Duration,
    /// Longest time between two looks at a session. Default: 30 s.
    pub poll_max: Duration,
    /// After which a stop that nobody confirmed is sent again. Default: 15 s.
    pub stop_again: Duration,
    /// Shortest time between two changes of the queue position that is stored for a waiting session. Default: 1 min.
    pub queue_interval: Duration,
    /// How long nothing must move after a stop was taken, at a provider that has no status for stopped sessions, until the
    /// session counts as stopped. Default: 2 min.
    pub stop_silence: Duration,
    /// How long what can be mended outside of an object keeps it `Reconciling` before it is `Stalled`. Default: 5 min.
    pub stalled_after: Duration,
    /// How long the provider must say that it does not know a session until the session counts as lost. Default: 10 min.
    pub lost_after: Duration,
    /// When, after the end, what was asked for and is missing (pull request, cost, links, result) is looked for.
    /// Default: 1, 5 and 15 min.
    pub after_end: [Duration; 3],
    /// How long a webhook may take to answer. Default: 10 s.
    pub webhook_timeout: Duration,
    /// First waiting time after a webhook did not take a report; it triples. Default: 10 s.
    pub webhook_wait_min: Duration,
    /// Longest waiting time between two attempts, also where the webhook asks for more. Default: 2 h.
    pub webhook_wait_max: Duration,
    /// How long a report is tried. Default: 24 h.
    pub webhook_patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            send_window: Duration::from_secs(20),
            post_timeout: Duration::from_secs(100),
            settle: Duration::from_secs(180),
            consistency_window: Duration::from_secs(15),
            clock_margin: Duration::from_secs(30),
            deletion_bound: Duration::from_secs(600),
            deletion_slack: Duration::from_secs(300),
            unknown_patience: Duration::from_secs(3600),
            refusal_wait_min: Duration::from_secs(300),
            refusal_wait_max: Duration::from_secs(3600),
            fault_wait_min: Duration::from_secs(2),
            fault_wait_max: Duration::from_secs(60),
            recheck: Duration::from_secs(10),
            stale_age: Duration::from_secs(600),
            poll_min: Duration::from_secs(3),
            poll_max: Duration::from_secs(30),
            stop_again: Duration::from_secs(15),
            queue_interval: Duration::from_secs(60),
            stop_silence: Duration::from_secs(120),
            stalled_after: Duration::from_secs(300),
            lost_after: Duration::from_secs(600),
            after_end: [60, 300, 900].map(Duration::from_secs),
            webhook_timeout: Duration::from_secs(10),
            webhook_wait_min: Duration::from_secs(10),
            webhook_wait_max: Duration::from_secs(7200),
            webhook_patience: Duration::from_secs(24 * 3600),
        }
    }
}

/// Durations that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Deletion would end before a lost launch can be found.
    #[error(
        "the deletion bound ({bound:?}) must be at least send window + request timeout + settle time + slack ({needed:?}): raise the bound or lower the others"
    )]
    DeletionBeforeFence {
        /// The bound that was asked for.
        bound: Duration,
        /// The least that works.
        needed: Duration,
    },
    /// Deletion would end before a stop that shows nowhere can count.
    #[error(
        "the deletion bound ({bound:?}) must be longer than the silence after a stop ({silence:?}): raise the bound or lower the other"
    )]
    DeletionBeforeSilence {
        /// The bound that was asked for.
        bound: Duration,
        /// The silence that was asked for.
        silence: Duration,
    },
    /// A duration that must not be zero is.
    #[error("{name} must be longer than zero")]
    Zero {
        /// Which one.
        name: &'static str,
    },
    /// The least is more than the most.
    #[error("the shortest {name} ({min:?}) is longer than the longest ({max:?})")]
    Reversed {
        /// Of what.
        name: &'static str,
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
}

impl Timing {
    /// W + T + S: after this an accepted launch is visible, and none of its claim is sent any more.
    pub fn fence(&self) -> Duration {
        self.send_window + self.post_timeout + self.settle
    }

    /// The fence after the `posts`-th request with the same key: it doubles with each.
    pub fn fence_after(&self, posts: i32) -> Duration {
        let doublings = u32::try_from(posts.saturating_sub(1)).unwrap_or(0).min(10);
        self.fence().saturating_mul(1 << doublings)
    }

    /// Waiting time after `count` refusals in a row that somebody has to mend.
    pub fn refusal_wait(&self, count: i32) -> Duration {
        doubled(self.refusal_wait_min, self.refusal_wait_max, count)
    }

    /// Waiting time after `count` transient faults in a row.
    pub fn fault_wait(&self, count: i32) -> Duration {
        doubled(self.fault_wait_min, self.fault_wait_max, count)
    }

    /// Waiting time after `attempts` attempts at a report.
    pub fn webhook_wait(&self, attempts: i32) -> Duration {
        let triples = u32::try_from(attempts.saturating_sub(1))
            .unwrap_or(0)
            .min(16);
        let wait = self.webhook_wait_min.saturating_mul(3_u32.pow(triples));
        wait.min(self.webhook_wait_max)
    }

    /// Waiting time after `rounds` looks in a row that came to their end without a verdict: none before the first.
    pub fn inconclusive_wait(&self, rounds: i32) -> Duration {
        if rounds <= 0 {
            return Duration::ZERO;
        }
        let most = self.fault_wait_max.max(self.consistency_window);
        doubled(self.consistency_window, most, rounds)
    }

    /// Checks the relations that the protocol relies on.
    ///
    /// # Errors
    /// Names the durations that contradict each other, and what to change.
    pub fn validate(&self) -> Result<(), TimingError> {
        for (name, value) in [
            ("the send window", self.send_window),
            ("the request timeout", self.post_timeout),
            ("the settle time", self.settle),
            ("the shortest polling interval", self.poll_min),
            ("the silence after a stop", self.stop_silence),
            (
                "the shortest waiting time after a fault",
                self.fault_wait_min,
            ),
            ("the time limit of a webhook", self.webhook_timeout),
            ("the waiting time of a webhook", self.webhook_wait_min),
        ] {
            if value.is_zero() {
                return Err(TimingError::Zero { name });
            }
        }
        for (name, min, max) in [
            ("polling interval", self.poll_min, self.poll_max),
            (
                "waiting time after a refusal",
                self.refusal_wait_min,
                self.refusal_wait_max,
            ),
            (
                "waiting time after a fault",
                self.fault_wait_min,
                self.fault_wait_max,
            ),
            (
                "waiting time after a webhook did not take a report",
                self.webhook_wait_min,
                self.webhook_wait_max,
            ),
        ] {
            if min > max {
                return Err(TimingError::Reversed { name, min, max });
            }
        }
        let needed = self.fence() + self.deletion_slack;
        if self.deletion_bound < needed {
            return Err(TimingError::DeletionBeforeFence {
                bound: self.deletion_bound,
                needed,
            });
        }
        if self.deletion_bound <= self.stop_silence {
            return Err(TimingError::DeletionBeforeSilence {
                bound: self.deletion_bound,
                silence: self.stop_silence,
            });
        }
        Ok(())
    }
}

/// How old a deletion is. Its time is the API server's, whose clock need not be this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletionAge {
    /// By the clock of this machine; zero if it lies ahead.
    pub by_wall: Duration,
    /// Since this process first saw it.
    pub since_seen: Duration,
}

impl Timing {
    /// How long a deletion of this age may still take.
    ///
    /// It has the bound, and this process has its chance to look and to stop, from when it saw the deletion: who comes back after
    /// hours tries before giving up, and an API server whose clock is behind takes nobody's chance. One whose clock is ahead
    /// prolongs nothing for a process that goes on. A process that never lives long enough for its chance must not hold an
    /// object for ever: past three times the bound, a fifth of it is enough. What is then still to be done once, it does
    /// first: see [`Timing::until_deletion_ends`].
    pub fn until_deletion_bound(&self, age: DeletionAge) -> Duration {
        let DeletionAge {
            by_wall,
            since_seen,
        } = age;
        let (bound, chance) = (self.deletion_bound, self.deletion_slack);
        let in_time = bound
            .saturating_sub(by_wall)
            .max(chance.saturating_sub(since_seen))
            .min(bound.saturating_sub(since_seen));
        let outer = (bound * 3)
            .saturating_sub(by_wall)
            .max((chance / 5).saturating_sub(since_seen));
        in_time.min(outer)
    }

    /// How long this process may still hold a deletion that is past its bound because its first stop has not been sent.
    ///
    /// By its own clock alone: what another clock says can take nobody's first stop. The bound and the chance together are
    /// enough for the longest queue of stops that the bound was chosen for.
    pub fn until_deletion_ends(&self, age: DeletionAge) -> Duration {
        (self.deletion_bound + self.deletion_slack).saturating_sub(age.since_seen)
    }

    /// Whether a process that saw the deletion this long ago has had its chance to look and to stop.
    pub fn had_its_chance(&self, age: DeletionAge) -> bool {
        age.since_seen >= self.deletion_slack
    }
}

fn doubled(min: Duration, max: Duration, count: i32) -> Duration {
    let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(0).min(16);
    min.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Timing::default().validate(), Ok(()));
        assert_eq!(Timing::default().fence(), Duration::from_secs(300));
    }

    #[test]
    fn a_deletion_bound_before_the_fence_is_refused() {
        let timing = Timing {
            deletion_bound: Duration::from_secs(599),
            ..Timing::default()
        };
        assert!(matches!(
            timing.validate(),
            Err(TimingError::DeletionBeforeFence { .. })
        ));
    }

    #[test]
    fn a_deletion_bound_before_a_silent_stop_counts_is_refused() {
        let timing = Timing {
            stop_silence: Duration::from_secs(600),
            ..Timing::default()
        };
        assert!(matches!(
            timing.validate(),
            Err(TimingError::DeletionBeforeSilence { .. })
        ));
    }

    #[test]
    fn the_fence_doubles_with_each_request() {
        let timing = Timing::default();
        let minutes: Vec<u64> = (1..=5)
            .map(|n| timing.fence_after(n).as_secs() / 60)
            .collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80]);
    }

    #[test]
    fn refusals_wait_five_minutes_doubling_to_an_hour() {
        let timing = Timing::default();
        let minutes: Vec<u64> = (1..=6)
            .map(|n| timing.refusal_wait(n).as_secs() / 60)
            .collect();
        assert_eq!(minutes, [5, 10, 20, 40, 60, 60]);
    }
}
