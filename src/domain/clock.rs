//! The clock of a provider beside ours: when a provider says that a session was created is told by its clock, when a launch was
//! claimed by ours.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// No two clocks, or time zones taken for each other, differ by more.
const LARGEST: SignedDuration = SignedDuration::from_hours(48);

/// How far the clock of a provider is ahead of ours; negative where it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockDifference(SignedDuration);

impl ClockDifference {
    /// The provider's clock is so far ahead.
    pub fn ahead(by: SignedDuration) -> Self {
        Self(by.clamp(-LARGEST, LARGEST))
    }

    /// Whether it is more than clocks may differ.
    pub fn exceeds(self, margin: Duration) -> bool {
        self.0.unsigned_abs() > margin
    }

    /// In seconds; negative where the provider's clock is behind.
    pub fn as_seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// By our clock, what the provider's clock calls `theirs`.
    pub fn ours(self, theirs: Timestamp) -> Timestamp {
        theirs.checked_sub(self.0).unwrap_or(theirs)
    }

    /// The time from `from` to `until` by our clock, as the provider's clock may tell it: longer, because the difference itself may
    /// have been measured wrongly.
    pub fn widened(self, from: Timestamp, until: Timestamp) -> (Timestamp, Timestamp) {
        let (behind, ahead) = (
            self.0.min(SignedDuration::ZERO),
            self.0.max(SignedDuration::ZERO),
        );
        (
            from.checked_add(behind).unwrap_or(from),
            until.checked_add(ahead).unwrap_or(until),
        )
    }
}

/// `20 min ahead of`, as it stands before whose clock it is compared with. Coarse, so that it does not change with every answer.
impl fmt::Display for ClockDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.unsigned_abs().as_secs();
        match seconds {
            0..120 => write!(f, "{} s", seconds.div_ceil(10) * 10)?,
            120..7200 => write!(f, "{} min", (seconds + 30) / 60)?,
            _ => write!(f, "{} h", (seconds + 1800) / 3600)?,
        }
        f.write_str(if self.0.is_negative() {
            " behind"
        } else {
            " ahead of"
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MARGIN: Duration = Duration::from_secs(30);

    fn at(text: &str) -> Timestamp {
        format!("2026-10-01T{text}Z").parse().unwrap()
    }

    #[test]
    fn a_window_is_widened_to_the_side_on_which_the_provider_is() {
        let (from, until) = (at("12:00:00"), at("12:05:00"));
        for (minutes, expected, said) in [
            (20, (from, at("12:25:00")), "20 min ahead of"),
            (-20, (at("11:40:00"), until), "20 min behind"),
            (0, (from, until), "0 s ahead of"),
        ] {
            let difference = ClockDifference::ahead(SignedDuration::from_mins(minutes));
            assert_eq!(difference.widened(from, until), expected);
            assert_eq!(difference.to_string(), said);
            assert_eq!(difference.exceeds(MARGIN), minutes != 0);
            let theirs = from + SignedDuration::from_mins(minutes);
            assert_eq!(difference.ours(theirs), from);
        }
    }

    #[test]
    fn nothing_that_a_provider_says_leads_out_of_time() {
        for by in [SignedDuration::MAX, SignedDuration::MIN] {
            let difference = ClockDifference::ahead(by);
            for moment in [Timestamp::MIN, Timestamp::MAX] {
                difference.ours(moment);
                difference.widened(moment, moment);
            }
            let (from, until) = difference.widened(at("12:00:00"), at("12:00:00"));
            assert!(until.duration_since(from) <= LARGEST);
        }
    }
}
