//! How fast one credential may ask one endpoint, shared by all its connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Between two requests in the long run. Default 100 ms: 10 per second.
    pub interval: Duration,
    /// How many may go at once after a pause. Default 20.
    pub burst: u32,
    /// A request that would have to wait longer fails at once. Default 10 s.
    pub longest_wait: Duration,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            burst: 20,
            longest_wait: Duration::from_secs(10),
        }
    }
}

/// The limiter of one (endpoint, credential).
#[derive(Debug)]
pub(super) struct Limiter {
    rule: RateLimit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the bucket is full again.
    full_at: Instant,
    /// Until when the provider does not want to hear from us.
    silent_until: Instant,
}

impl Limiter {
    fn new(rule: RateLimit) -> Self {
        let now = Instant::now();
        Self {
            rule,
            state: Mutex::new(State {
                full_at: now,
                silent_until: now,
            }),
        }
    }

    /// Waits for a token.
    ///
    /// # Errors
    /// How long to stay away, if the provider asked for silence or the wait would be too long. Nothing is taken then.
    pub(super) async fn admit(&self) -> Result<(), Duration> {
        let wait = self.take(Instant::now())?;
        if !wait.is_zero() {
            sleep(wait).await;
            // Somebody may have been told to be silent in the meantime.
            self.silence(Instant::now())?;
        }
        Ok(())
    }

    /// Every request fails at once until `until`.
    pub(super) fn silence_until(&self, until: Instant) {
        let mut state = self.lock();
        state.silent_until = state.silent_until.max(until);
    }

    fn silence(&self, now: Instant) -> Result<(), Duration> {
        match self.lock().silent_until.saturating_duration_since(now) {
            Duration::ZERO => Ok(()),
            left => Err(left),
        }
    }

    /// Takes a token and tells how long until it may be used.
    fn take(&self, now: Instant) -> Result<Duration, Duration> {
        self.silence(now)?;
        let mut state = self.lock();
        let full_at = state.full_at.max(now);
        let burst = self.rule.interval * self.rule.burst.saturating_sub(1);
        let wait = full_at.saturating_duration_since(now).saturating_sub(burst);
        if wait > self.rule.longest_wait {
            return Err(wait);
        }
        state.full_at = full_at + self.rule.interval;
        Ok(wait)
    }

    fn idle(&self, now: Instant) -> bool {
        let state = self.lock();
        state.full_at <= now && state.silent_until <= now
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Plain values: a panic elsewhere cannot have left them half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which credential asks which endpoint: the endpoint's URL and [`Credential::digest`](crate::providers::credential::Credential::digest).
type LimiterKey = (String, String);

/// The limiters of all credentials.
#[derive(Debug)]
pub(super) struct Limiters {
    rule: RateLimit,
    by_credential: Mutex<HashMap<LimiterKey, Arc<Limiter>>>,
}

impl Limiters {
    pub(super) fn new(rule: RateLimit) -> Self {
        Self {
            rule,
            by_credential: Mutex::new(HashMap::new()),
        }
    }

    /// The limiter of this credential at this endpoint.
    pub(super) fn of(&self, endpoint: &str, digest: String) -> Arc<Limiter> {
        let mut all = self
            .by_credential
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Rotated credentials would pile up. One that nobody holds and that remembers nothing is as good as a new one.
        all.retain(|_, limiter| Arc::strong_count(limiter) > 1 || !limiter.idle(now));
        Arc::clone(
            all.entry((endpoint.to_owned(), digest))
                .or_insert_with(|| Arc::new(Limiter::new(self.rule))),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule() -> RateLimit {
        RateLimit {
            interval: Duration::from_secs(1),
            burst: 3,
            longest_wait: Duration::from_secs(2),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_goes_at_once_then_one_per_interval_and_a_long_queue_is_refused() {
        let limiter = Limiter::new(rule());
        let now = Instant::now();
        let waits: Vec<_> = (0..6).map(|_| limiter.take(now)).collect();
        assert_eq!(
            waits,
            [
                Ok(Duration::ZERO),
                Ok(Duration::ZERO),
                Ok(Duration::ZERO),
                Ok(SECOND),
                Ok(2 * SECOND),
                Err(3 * SECOND)
            ]
        );
        // Nothing was taken by the one that was refused.
        assert_eq!(limiter.take(now + SECOND), Ok(2 * SECOND));
    }

    #[test]
    fn silence_refuses_at_once_is_never_shortened_and_ends_by_itself() {
        let limiter = Limiter::new(rule());
        let now = Instant::now();
        limiter.silence_until(now + 30 * SECOND);
        limiter.silence_until(now + 5 * SECOND);
        assert_eq!(limiter.take(now), Err(30 * SECOND));
        assert_eq!(limiter.take(now + 30 * SECOND), Ok(Duration::ZERO));
    }

    #[tokio::test]
    async fn silence_reaches_those_who_are_already_waiting() {
        let limiter = Limiter::new(RateLimit {
            interval: Duration::from_millis(50),
            burst: 1,
            ..rule()
        });
        limiter.admit().await.unwrap();
        let (waited, ()) = tokio::join!(limiter.admit(), async {
            limiter.silence_until(Instant::now() + 30 * SECOND);
        });
        assert!(waited.unwrap_err() > 29 * SECOND);
    }

    #[test]
    fn one_limiter_per_endpoint_and_credential_and_idle_ones_are_forgotten() {
        let limiters = Limiters::new(rule());
        let held = limiters.of("https://a", "1".into());
        assert!(Arc::ptr_eq(&held, &limiters.of("https://a", "1".into())));
        assert!(!Arc::ptr_eq(&held, &limiters.of("https://b", "1".into())));
        limiters
            .of("https://a", "silenced".into())
            .silence_until(Instant::now() + 9 * SECOND);
        limiters.of("https://a", "2".into());
        // The one of https://b is gone, the silenced one must not be.
        let all = limiters.by_credential.lock().unwrap();
        let mut digests: Vec<_> = all.keys().map(|(_, digest)| digest.as_str()).collect();
        digests.sort_unstable();
        assert_eq!(digests, ["1", "2", "silenced"]);
    }
}
