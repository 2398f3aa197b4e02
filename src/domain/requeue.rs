//! When to look again.

use std::time::Duration;

use super::timing::Timing;

/// How long to wait between two looks at a session that has been running for `age`: often at first, when most happens and
/// people watch, then a twentieth of its age, within the bounds.
pub fn poll_interval(timing: &Timing, age: Duration) -> Duration {
    (age / 20).clamp(timing.poll_min, timing.poll_max)
}

/// `wait`, shifted by up to a fifth in either direction, so that many sessions do not ask at the same moment. `random` is
/// any number.
pub fn jittered(wait: Duration, random: u16) -> Duration {
    wait.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u16::MAX))
}

/// When an object is looked at again if nothing happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// More or less then: polling and waiting after faults. It is jittered.
    pub soon: Option<Duration>,
    /// Exactly then, at the latest: something is due.
    pub at: Option<Duration>,
}

impl Again {
    /// Only if something happens.
    pub const NEVER: Self = Self {
        soon: None,
        at: None,
    };

    /// More or less after `wait`.
    pub fn soon(wait: Duration) -> Self {
        Self {
            soon: Some(wait),
            at: None,
        }
    }

    /// How long to wait; `random` is any number. `None` waits for a change.
    pub fn wait(self, random: u16) -> Option<Duration> {
        let soon = self.soon.map(|wait| jittered(wait, random));
        match (soon, self.at) {
            (Some(soon), Some(at)) => Some(soon.min(at)),
            (soon, at) => soon.or(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_never_jittered_and_what_is_polled_never_delays_it() {
        let hour = Duration::from_secs(3600);
        for random in [0, u16::MAX / 2, u16::MAX] {
            let due = Again {
                soon: None,
                at: Some(hour),
            };
            assert_eq!(due.wait(random), Some(hour));
            let polled = Again {
                soon: Some(hour),
                at: Some(hour),
            };
            assert!(polled.wait(random).unwrap_or_default() <= hour);
        }
        assert_eq!(Again::soon(hour).wait(0), Some(Duration::from_secs(2880)));
        assert_eq!(Again::NEVER.wait(0), None);
    }

    #[test]
    fn looks_are_frequent_at_first_and_never_more_than_the_longest_interval_apart() {
        let timing = Timing::default();
        let seconds = |age| poll_interval(&timing, Duration::from_secs(age)).as_secs();
        assert_eq!(
            [
                seconds(0),
                seconds(60),
                seconds(200),
                seconds(600),
                seconds(7200)
            ],
            [3, 3, 10, 30, 30]
        );
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        let wait = Duration::from_secs(10);
        assert_eq!(jittered(wait, 0), Duration::from_secs(8));
        assert_eq!(jittered(wait, u16::MAX), Duration::from_secs(12));
    }
}
