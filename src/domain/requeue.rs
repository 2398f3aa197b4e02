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

#[cfg(test)]
mod tests {
    use super::*;

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
