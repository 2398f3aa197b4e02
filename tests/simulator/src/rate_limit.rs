//! Request limits per account and operation, over sliding windows.

use std::collections::HashMap;
use std::time::Duration;

use super::clock::{Clock, Moment};
use super::http::Refusal;
use super::operation::Operation;

/// At most `requests` within any `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) requests: u32,
    pub(crate) window: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    seen: HashMap<(String, Operation), Vec<Moment>>,
}

impl RateLimiter {
    /// Counts a request, or refuses it (a refused one is not counted).
    pub(crate) fn admit(
        &mut self,
        account: &str,
        operation: Operation,
        limits: &[Limit],
        clock: &Clock,
    ) -> Result<(), Refusal> {
        let now = clock.now();
        let Some(longest) = limits.iter().map(|limit| limit.window).max() else {
            return Ok(());
        };
        let seen = self
            .seen
            .entry((account.to_owned(), operation))
            .or_default();
        seen.retain(|at| now.since(*at) < longest);
        for limit in limits {
            let recent: Vec<Moment> = seen
                .iter()
                .copied()
                .filter(|at| now.since(*at) < limit.window)
                .collect();
            if let Some(oldest) = recent.first()
                && recent.len() >= limit.requests as usize
            {
                let wait = limit.window.saturating_sub(now.since(*oldest));
                return Err(too_many(limit.requests, wait, clock));
            }
        }
        seen.push(now);
        Ok(())
    }
}

/// The documented 429, with its headers. The reset is a time, in seconds since 1970.
pub(crate) fn too_many(limit: u32, wait: Duration, clock: &Clock) -> Refusal {
    let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
    let reset = clock.timestamp(clock.now().plus(wait)).as_second();
    let mut refusal = Refusal::rate_limited(format!(
        "Rate limit exceeded. Retry after {seconds} seconds"
    ));
    refusal.headers = vec![
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", "0".to_owned()),
        ("x-ratelimit-reset", reset.to_string()),
        ("retry-after", seconds),
    ];
    refusal
}
