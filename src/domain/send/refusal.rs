//! What a refusal of a paid request comes to: whom it concerns, and when it is worth another try.

use std::time::Duration;

use jiff::SignedDuration;

use super::Clock;
use crate::api::{
    AUTO_MODEL, CodeSessionSpec, Effective, MendedBy, Reason, RefusalRecord, RepositorySpec,
};
use crate::domain::remote::{ErrorClass, ProviderError, Sent, Subject};
use crate::domain::status::clip;

/// Longest text of the provider's that is kept, in bytes.
const MESSAGE_BYTES: usize = 512;
/// Requests that are answered with a refusal of unclear cause before that is the last word.
pub const MOST_UNCLEAR: i32 = 3;

/// What was refused, and under which circumstances.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// The refusal before this one.
    pub previous: Option<&'a RefusalRecord>,
    /// Which settings are the session's own.
    pub own: Own<'a>,
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
pub fn record(error: &ProviderError, refused: &Refused<'_>) -> RefusalRecord {
    let timing = refused.clock.timing;
    let (reason, mended_by) = match error.class {
        // The template is gone; another one is made.
        ErrorClass::NotFound if refused.from_template => {
            (Reason::WaitingForTemplate, MendedBy::Others)
        }
        _ => verdict(&refused.own, error),
    };
    let count = refused
        .previous
        .filter(|previous| previous.mended_by == mended_by)
        .map_or(0, |previous| previous.count)
        .saturating_add(1);
    let wait = match mended_by {
        MendedBy::Time => timing.fault_wait(count),
        MendedBy::Others | MendedBy::Unclear | MendedBy::Nobody => timing.refusal_wait(count),
    };
    let wait = wait.max(error.retry_after.unwrap_or_default());
    RefusalRecord {
        class: error.class.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        mended_by,
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
    Reason::named(&refusal.reason).unwrap_or(Reason::InvalidRequest)
}

/// When a refused session is looked at again. A changed CodeAgent wakes it, a changed Secret does not.
pub fn next_look(refusal: &RefusalRecord, clock: Clock<'_>) -> Duration {
    let remaining = clock.until(refusal.retry_at);
    match reason(refusal) {
        Reason::RateLimited | Reason::ProviderUnavailable | Reason::SessionBusy => remaining,
        _ => remaining.min(clock.timing.recheck),
    }
}

/// What a refusal comes to. Who set what it is about decides: only what the session itself set can end it.
pub fn verdict(own: &Own<'_>, error: &ProviderError) -> (Reason, MendedBy) {
    match (error.class, error.subject) {
        (ErrorClass::RateLimited, _) => (Reason::RateLimited, MendedBy::Time),
        (ErrorClass::Unavailable | ErrorClass::Intermediary | ErrorClass::Timeout, _) => {
            (Reason::ProviderUnavailable, MendedBy::Time)
        }
        (ErrorClass::Unknown | ErrorClass::Protocol, _) if error.sent == Sent::Nothing => {
            (Reason::ProviderUnavailable, MendedBy::Time)
        }
        (_, Some(Subject::Model)) if !own.model => (Reason::ModelUnavailable, MendedBy::Others),
        (_, Some(Subject::Model)) => (Reason::InvalidRequest, MendedBy::Nobody),
        (_, Some(Subject::Repository | Subject::PullRequest)) => {
            (Reason::RepositoryInaccessible, MendedBy::Others)
        }
        (_, Some(Subject::Reference)) if own.reference || own.branch_name => {
            (Reason::InvalidRequest, MendedBy::Nobody)
        }
        (_, Some(Subject::Reference)) => (Reason::SettingsRefused, MendedBy::Others),
        (_, Some(Subject::Issue)) => (Reason::InvalidRequest, MendedBy::Nobody),
        (_, Some(Subject::Busy)) => (Reason::SessionBusy, MendedBy::Time),
        (_, Some(Subject::Archived)) => (Reason::SessionArchived, MendedBy::Nobody),
        (_, Some(Subject::CodingAgent)) => (Reason::CodingAgentNotFound, MendedBy::Others),
        (_, Some(Subject::Pod)) => (Reason::SettingsRefused, MendedBy::Others),
        (ErrorClass::QuotaExhausted, _) => (Reason::QuotaExhausted, MendedBy::Others),
        (ErrorClass::Unauthorized | ErrorClass::Forbidden, _) => {
            (Reason::CredentialsInvalid, MendedBy::Others)
        }
        (ErrorClass::NotFound, _) if own.message => (Reason::SessionLost, MendedBy::Unclear),
        // The endpoint does not know how to launch sessions: a matter of the CodeAgent.
        (ErrorClass::NotFound, _) => (Reason::ProviderProtocolError, MendedBy::Others),
        (
            ErrorClass::InvalidRequest
            | ErrorClass::Conflict
            | ErrorClass::Unknown
            | ErrorClass::Protocol,
            None | Some(Subject::SessionId),
        ) => {
            if own.names_a_setting_of_the_agent(&error.message) {
                (Reason::SettingsRefused, MendedBy::Others)
            } else {
                (Reason::InvalidRequest, MendedBy::Unclear)
            }
        }
    }
}

/// Which of the settings are the session's own, and the values of the others.
#[derive(Clone, Debug)]
pub struct Own<'a> {
    /// Whether a message was refused, and not a launch.
    message: bool,
    reference: bool,
    branch_name: bool,
    model: bool,
    of_agent: Vec<&'a str>,
}

impl<'a> Own<'a> {
    /// Of a follow-up message, which may name a model.
    pub fn of_message(model: bool) -> Self {
        Self {
            message: true,
            reference: false,
            branch_name: false,
            model,
            of_agent: Vec::new(),
        }
    }

    /// Of a session, and of what agent and session came to.
    pub fn of_launch(spec: &CodeSessionSpec, effective: Option<&'a Effective>) -> Self {
        let repository = spec.repository.as_ref();
        let url = repository.is_some_and(|own| own.url.is_some());
        let start =
            |own: &RepositorySpec| own.reference.is_some() || own.pull_request_url.is_some();
        let reference = url || repository.is_some_and(start);
        let model = spec
            .model
            .as_ref()
            .is_some_and(|own| own.id.is_some() || !own.params.is_empty());
        let branch_name = spec
            .pull_request
            .as_ref()
            .is_some_and(|own| own.branch_name.is_some());
        let of_agent = effective.map(|effective| {
            [
                effective.repository.as_deref().filter(|_| !url),
                effective.reference.as_deref().filter(|_| !reference),
                effective.pull_request_url.as_deref().filter(|_| !reference),
                Some(effective.model.id.as_str()).filter(|id| !model && *id != AUTO_MODEL),
                effective
                    .pull_request
                    .branch_name
                    .as_deref()
                    .filter(|_| !branch_name),
            ]
        });
        Self {
            message: false,
            reference,
            branch_name,
            model,
            of_agent: of_agent.into_iter().flatten().flatten().collect(),
        }
    }

    /// Whether a refusal that says no more than its words names a value that the CodeAgent sets.
    fn names_a_setting_of_the_agent(&self, message: &str) -> bool {
        self.of_agent.iter().any(|value| names(message, value))
    }
}

/// Whether `text` contains `value` as a word of its own.
fn names(text: &str, value: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/');
    !value.is_empty()
        && text.match_indices(value).any(|(at, _)| {
            let before = text.get(..at).and_then(|text| text.chars().next_back());
            let after = text
                .get(at + value.len()..)
                .and_then(|text| text.chars().next());
            !before.is_some_and(is_inside) && !after.is_some_and(is_inside)
        })
}
