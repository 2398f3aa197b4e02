//! The look before a launch, where a lost one could only be found by comparing: the launch is not claimed before what is
//! there has been read, so that an outage is met while nothing is at stake.

use std::time::Duration;

use super::super::remote::{ErrorClass, ProviderError, Recovery};
use super::observed::{Connected, Observed, Preflight, ProviderFacts, Turn};
use crate::api::Reason;

/// Where the look before a launch stands.
pub(super) enum Standing<'a> {
    /// It was taken, or is not needed; what later looks are compared with.
    Done(Option<&'a str>),
    /// It is to be taken now.
    Due,
    /// The provider could not be read and is left alone for a while.
    Failed(&'a ProviderError, Duration),
}

/// Where the look before a launch by this account stands.
pub(super) fn standing<'a>(
    o: &Observed<'a>,
    provider: &ProviderFacts,
    connected: &Connected,
) -> Standing<'a> {
    match provider.recovery {
        Recovery::ClientId | Recovery::Marker => return Standing::Done(None),
        Recovery::None => {}
    }
    let Some(taken) = o
        .preflight
        .filter(|taken| taken.account == connected.account)
    else {
        return Standing::Due;
    };
    match &taken.result {
        Ok(baseline) if counts(o, taken) => Standing::Done(baseline.as_deref()),
        Ok(_) => Standing::Due,
        Err(error) => {
            let pause = o
                .timing
                .fault_wait(o.faults)
                .max(error.retry_after.unwrap_or_default());
            (taken.begun + pause)
                .checked_sub(o.uptime)
                .filter(|left| !left.is_zero())
                .map_or(Standing::Due, |left| Standing::Failed(error, left))
        }
    }
}

/// A look counts if it was begun in this session's turn, and not longer ago than a slow provider takes to answer: what came
/// to be since is taken for ours.
fn counts(o: &Observed<'_>, taken: &Preflight) -> bool {
    let in_turn = match o.turn {
        Turn::Unneeded => true,
        Turn::Ours { since } => taken.begun >= since,
        Turn::Taken { .. } => false,
    };
    in_turn && o.uptime.saturating_sub(taken.begun) <= o.timing.post_timeout
}

/// The reason that such an outage goes by.
pub(super) fn outage(error: &ProviderError) -> Reason {
    match error.class {
        ErrorClass::RateLimited => Reason::RateLimited,
        ErrorClass::InvalidRequest
        | ErrorClass::Unauthorized
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::QuotaExhausted
        | ErrorClass::Unavailable
        | ErrorClass::Timeout
        | ErrorClass::Unknown
        | ErrorClass::Protocol => Reason::ProviderUnavailable,
    }
}
