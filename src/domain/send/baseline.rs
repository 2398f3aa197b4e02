//! What is there before a send, where a lost one could only be found by comparing: nothing is claimed before it has been
//! read, so that an outage is met while nothing is at stake.

use std::time::Duration;

use super::Clock;
use super::seen::BaselineRead;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::ProviderError;

/// Where the reading of the baseline stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Baseline<'a> {
    /// It was read, or is not needed; what later looks are compared with.
    Done(Option<&'a str>),
    /// It is to be read now.
    Due,
    /// The provider could not be read and is left alone for a while.
    Failed(&'a ProviderError, Duration),
}

/// Where the reading of the baseline by `account` stands; `compares` tells whether a lost send is found by comparing at all.
///
/// `turn_since` is when, by uptime, this session's turn at what it works on began: what was read before may be another's.
/// `None` while it is another session's turn.
pub fn baseline<'a>(
    compares: bool,
    read: Option<&'a BaselineRead>,
    account: &AccountFingerprint,
    turn_since: Option<Duration>,
    clock: Clock<'_>,
) -> Baseline<'a> {
    if !compares {
        return Baseline::Done(None);
    }
    let Some(read) = read.filter(|read| read.account == *account) else {
        return Baseline::Due;
    };
    match &read.result {
        // Not longer ago than a slow provider takes to answer: what came to be since is taken for ours.
        Ok(baseline)
            if turn_since.is_some_and(|since| read.begun >= since)
                && clock.uptime.saturating_sub(read.ended) <= clock.timing.post_timeout =>
        {
            Baseline::Done(baseline.as_deref())
        }
        Ok(_) => Baseline::Due,
        Err(error) => {
            let pause = clock
                .timing
                .fault_wait(read.failures)
                .max(error.retry_after.unwrap_or_default());
            (read.begun + pause)
                .checked_sub(clock.uptime)
                .filter(|left| !left.is_zero())
                .map_or(Baseline::Due, |left| Baseline::Failed(error, left))
        }
    }
}
