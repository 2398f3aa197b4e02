//! What a refusal of a paid request comes to: whom it concerns, and when it is worth another try.

use std::time::Duration;

use jiff::SignedDuration;

use super::Clock;
use crate::api::{Reason, RefusalRecord};
use crate::domain::remote::{ErrorClass, ProviderError, Sent, Subject};
use crate::domain::status::clip;

/// Longest text of the provider's that is kept, in bytes.
const MESSAGE_BYTES: usize = 512;

/// What was refused, and under which circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The refusal before this one.
    pub previous: Option<&'a RefusalRecord>,
    /// Whether the session itself chose the model.
    pub own_model: bool,
    /// Whether it was to be launched from a template.
    pub from_template: bool,
    /// Generation of the CodeAgent.
    pub agent_generation: i64,
    /// Digest of the credential.
    pub credential: &'a str,
    /// Clocks and durations.
    pub clock: Clock<'a>,
}

/// The record of a refusal.
pub fn record(error: &ProviderError, refused: Refused<'_>) -> RefusalRecord {
    let timing = refused.clock.timing;
    let count = refused
        .previous
        .map_or(0, |refusal| refusal.count)
        .saturating_add(1);
    let verdict = match error.class {
        // The template is gone; another one is made.
        ErrorClass::NotFound if refused.from_template => Verdict {
            reason: Reason::WaitingForTemplate,
            mended_by: MendedBy::Surroundings,
        },
        _ => verdict(error, refused.own_model),
    };
    let wait = match verdict.mended_by {
        MendedBy::Time => timing.fault_wait(count),
        MendedBy::Surroundings | MendedBy::Nothing => timing.refusal_wait(count),
    };
    let wait = wait.max(error.retry_after.unwrap_or_default());
    RefusalRecord {
        class: error.class.as_str().to_owned(),
        reason: verdict.reason.as_str().to_owned(),
        message: clip(&error.to_string(), MESSAGE_BYTES),
        count,
        retry_at: refused.clock.now
            + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO),
        agent_generation: refused.agent_generation,
        credential: refused.credential.to_owned(),
    }
}

/// The reason that a refusal is recorded with.
pub fn reason(refusal: &RefusalRecord) -> Reason {
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == refusal.reason)
        .unwrap_or(Reason::InvalidRequest)
}

/// When a refused session is looked at again. A changed CodeAgent wakes it, a changed Secret does not.
pub fn next_look(refusal: &RefusalRecord, clock: Clock<'_>) -> Duration {
    let remaining = clock.until(refusal.retry_at);
    match reason(refusal) {
        Reason::RateLimited | Reason::ProviderUnavailable => remaining,
        _ => remaining.min(clock.timing.recheck),
    }
}

/// What a refusal comes to.
#[derive(Clone, Copy)]
struct Verdict {
    reason: Reason,
    mended_by: MendedBy,
}

/// What makes a refused launch possible.
#[derive(Clone, Copy)]
enum MendedBy {
    /// Waiting.
    Time,
    /// Somebody who changes the CodeAgent, the credentials or the account.
    Surroundings,
    /// Nothing: it is about the session's own fields, which never change.
    Nothing,
}

fn verdict(error: &ProviderError, own_model: bool) -> Verdict {
    let (reason, mended_by) = match (error.class, error.subject) {
        (ErrorClass::RateLimited, _) => (Reason::RateLimited, MendedBy::Time),
        (ErrorClass::Unavailable | ErrorClass::Intermediary | ErrorClass::Timeout, _) => {
            (Reason::ProviderUnavailable, MendedBy::Time)
        }
        (ErrorClass::Unknown | ErrorClass::Protocol, _) if error.sent == Sent::Nothing => {
            (Reason::ProviderUnavailable, MendedBy::Time)
        }
        (_, Some(Subject::Model)) if !own_model => {
            (Reason::ModelUnavailable, MendedBy::Surroundings)
        }
        (_, Some(Subject::Repository)) => (Reason::RepositoryInaccessible, MendedBy::Surroundings),
        (_, Some(Subject::Issue)) => (Reason::InvalidRequest, MendedBy::Nothing),
        (_, Some(Subject::CodingAgent)) => (Reason::CodingAgentNotFound, MendedBy::Surroundings),
        (ErrorClass::QuotaExhausted, _) => (Reason::QuotaExhausted, MendedBy::Surroundings),
        (ErrorClass::Unauthorized | ErrorClass::Forbidden, _) => {
            (Reason::CredentialsInvalid, MendedBy::Surroundings)
        }
        // The endpoint does not know how to launch sessions: a matter of the CodeAgent.
        (ErrorClass::NotFound, _) => (Reason::ProviderProtocolError, MendedBy::Surroundings),
        (
            ErrorClass::InvalidRequest
            | ErrorClass::Conflict
            | ErrorClass::Unknown
            | ErrorClass::Protocol,
            _,
        ) => (Reason::InvalidRequest, MendedBy::Nothing),
    };
    Verdict { reason, mended_by }
}
