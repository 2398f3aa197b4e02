//! How far the clock of an endpoint is from ours, by the `Date` of its answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};

use crate::domain::clock::ClockDifference;

/// So many answers count. The middle one of what they say is believed, so that a single wrong header changes nothing.
const ANSWERS: usize = 9;
/// So many answers it takes to believe anything.
const FEWEST: usize = 3;
/// `Date` is in whole seconds.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// The clock of an endpoint.
#[derive(Debug, Default)]
pub struct ProviderClock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What the newest answers said, the oldest first.
    newest: VecDeque<SignedDuration>,
    /// Whether the log has it that the difference is too large.
    told: bool,
}

/// What an answer has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) difference: ClockDifference,
    /// Whether clocks now differ by more than they may, if that is news.
    pub(super) news: Option<bool>,
}

impl ProviderClock {
    /// How far the endpoint's clock is from ours; `None` until enough answers have told.
    pub fn difference(&self) -> Option<ClockDifference> {
        self.lock().difference()
    }

    /// Takes note of an answer that was asked for and came at these times, by our clock; `margin` is how far clocks may differ.
    pub(super) fn note(
        &self,
        headers: &HeaderMap,
        asked: Timestamp,
        answered: Timestamp,
        margin: Duration,
    ) -> Option<Measured> {
        let least = least_difference(headers, asked, answered)?;
        let mut state = self.lock();
        if state.newest.len() == ANSWERS {
            state.newest.pop_front();
        }
        state.newest.push_back(least);
        let difference = state.difference()?;
        let exceeds = difference.exceeds(margin);
        let news = (state.told != exceeds).then_some(exceeds);
        state.told = exceeds;
        Some(Measured { difference, news })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Plain values: a panic elsewhere cannot have left them half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn difference(&self) -> Option<ClockDifference> {
        if self.newest.len() < FEWEST {
            return None;
        }
        let mut sorted: Vec<SignedDuration> = self.newest.iter().copied().collect();
        sorted.sort();
        sorted
            .get(sorted.len() / 2)
            .copied()
            .map(ClockDifference::ahead)
    }
}

/// The smallest difference that explains the answer's date: it was written at some moment between the question and the answer.
fn least_difference(
    headers: &HeaderMap,
    asked: Timestamp,
    answered: Timestamp,
) -> Option<SignedDuration> {
    // It comes from a cache, and its date tells when it was put there.
    if headers.contains_key(header::AGE) {
        return None;
    }
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let date = Timestamp::try_from(httpdate::parse_http_date(date).ok()?).ok()?;
    let least = date.duration_since(answered);
    let most = date.duration_since(asked) + RESOLUTION;
    Some(if least.is_positive() {
        least
    } else if most.is_negative() {
        most
    } else {
        SignedDuration::ZERO
    })
}

/// The clocks of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Clocks(Mutex<HashMap<String, Arc<ProviderClock>>>);

impl Clocks {
    /// The clock of this endpoint.
    pub(super) fn of(&self, endpoint: &str) -> Arc<ProviderClock> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Endpoints that nobody uses any more would pile up.
        all.retain(|known, clock| known == endpoint || Arc::strong_count(clock) > 1);
        Arc::clone(all.entry(endpoint.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::SystemTime;

    use super::*;

    const MARGIN: Duration = Duration::from_secs(30);

    /// An answer that took a second, from a clock so far ahead.
    fn answer(clock: &ProviderClock, ahead: SignedDuration) -> Option<Measured> {
        let asked: Timestamp = "2026-10-01T12:00:00.7Z".parse().unwrap();
        let written = SystemTime::from(asked + SignedDuration::from_millis(500) + ahead);
        let mut headers = HeaderMap::new();
        let date = httpdate::fmt_http_date(written);
        headers.insert(header::DATE, date.parse().unwrap());
        clock.note(&headers, asked, asked + RESOLUTION, MARGIN)
    }

    #[test]
    fn a_clock_that_agrees_differs_by_nothing_however_long_the_answer_takes() {
        let clock = ProviderClock::default();
        for _ in 0..3 {
            answer(&clock, SignedDuration::ZERO);
        }
        assert_eq!(clock.difference(), Some(ClockDifference::default()));
    }

    #[test]
    fn a_difference_is_news_once_and_one_wrong_header_is_none() {
        let clock = ProviderClock::default();
        let right = SignedDuration::ZERO;
        let wrong = SignedDuration::from_mins(-20);
        assert_eq!(answer(&clock, wrong), None);
        assert_eq!(answer(&clock, right), None);
        assert_eq!(answer(&clock, right).unwrap().news, None);
        assert!(!clock.difference().unwrap().exceeds(MARGIN));
        let news: Vec<bool> = (0..20)
            .filter_map(|_| answer(&clock, wrong)?.news)
            .collect();
        assert_eq!(news, [true]);
        let seconds = clock.difference().unwrap().as_seconds();
        assert!((-1200.0..=-1198.0).contains(&seconds), "{seconds}");
        let news: Vec<bool> = (0..20)
            .filter_map(|_| answer(&clock, right)?.news)
            .collect();
        assert_eq!(news, [false]);
    }

    #[test]
    fn what_is_no_date_or_comes_from_a_cache_says_nothing() {
        let now = Timestamp::now();
        for headers in [
            vec![],
            vec![("date", "yesterday")],
            vec![("date", "Thu, 01 Oct 2026 12:00:00 GMT"), ("age", "60")],
        ] {
            let headers: HeaderMap = headers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(least_difference(&headers, now, now), None);
        }
    }
}
