//! How a paid request went: rule 1 of the protocol, in one place for all providers and all kinds of requests.

use crate::domain::remote::{ErrorClass, Launched, Messaged, ProviderError, Sent, Subject};

/// How a paid request went. `T` is what its answer says: of a launch [`Launched`].
#[derive(Clone, Debug, PartialEq)]
pub enum SendOutcome<T> {
    /// The provider has it.
    Accepted(T),
    /// Nothing was started, for certain.
    Rejected(ProviderError),
    /// It may have been started.
    Unknown(ProviderError),
}

/// How a launch went.
pub type LaunchOutcome = SendOutcome<Launched>;

/// How a follow-up message went.
pub type MessageOutcome = SendOutcome<Messaged>;

/// The statuses with which a provider refuses a request before it starts anything.
pub const REFUSING_STATUSES: [u16; 11] = [400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 501];

/// Judges the answer to a paid request. `refusing_conflicts` are the codes with which this provider's 409 says that nothing
/// was started.
///
/// A refusal proves that nothing was started; whatever does not prove it leaves the outcome unknown.
pub fn outcome<T>(answer: Result<T, ProviderError>, refusing_conflicts: &[&str]) -> SendOutcome<T> {
    match answer {
        Ok(accepted) => SendOutcome::Accepted(accepted),
        Err(error) if nothing_was_started(&error, refusing_conflicts) => {
            SendOutcome::Rejected(error)
        }
        Err(error) => SendOutcome::Unknown(error),
    }
}

/// Judges the answer to a follow-up message. `refusals` are the codes with which this provider's 409 says that it did not take the
/// message, and what each is about.
pub fn message_outcome(
    answer: Result<Messaged, ProviderError>,
    refusals: &[(&str, Subject)],
) -> MessageOutcome {
    let about = |error: &ProviderError| {
        let code = error.code.as_deref()?;
        let refusal = refusals.iter().find(|(known, _)| *known == code);
        refusal.map(|(_, subject)| *subject)
    };
    let codes: Vec<&str> = refusals.iter().map(|(code, _)| *code).collect();
    let answer = answer.map_err(|error| ProviderError {
        subject: about(&error).or(error.subject),
        ..error
    });
    outcome(answer, &codes)
}

/// Whether a failed POST proves that it started nothing, by rule 1. `refusing_conflicts` as in [`outcome`].
pub fn nothing_was_started(error: &ProviderError, refusing_conflicts: &[&str]) -> bool {
    match (error.sent, error.status) {
        (Sent::Nothing, _) => true,
        // What refuses the provider's answer looks like what refuses our request.
        (Sent::Possibly, _) if error.class == ErrorClass::Intermediary => false,
        (Sent::Possibly, Some(409)) => error
            .code
            .as_deref()
            .is_some_and(|code| refusing_conflicts.contains(&code)),
        (Sent::Possibly, Some(status)) => REFUSING_STATUSES.contains(&status),
        (Sent::Possibly, None) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn failed(status: Option<u16>, code: Option<&str>, sent: Sent) -> ProviderError {
        ProviderError {
            class: ErrorClass::Unknown,
            subject: None,
            status,
            code: code.map(str::to_owned),
            message: "m".into(),
            retry_after: None,
            sent,
        }
    }

    #[test]
    fn every_status_there_is_follows_rule_1() {
        for status in 100..=999 {
            let refused = matches!(
                status,
                400 | 401 | 402 | 403 | 404 | 405 | 413 | 415 | 422 | 429 | 501
            );
            let error = failed(Some(status), None, Sent::Possibly);
            match outcome::<()>(Err(error.clone()), &["agent_busy"]) {
                SendOutcome::Rejected(kept) => assert!(refused && kept == error, "{status}"),
                SendOutcome::Unknown(kept) => assert!(!refused && kept == error, "{status}"),
                SendOutcome::Accepted(_) => panic!("{status}"),
            }
        }
    }

    #[test]
    fn a_refusal_that_is_not_the_providers_own_proves_nothing() {
        for status in REFUSING_STATUSES {
            let error = ProviderError {
                class: ErrorClass::Intermediary,
                ..failed(Some(status), None, Sent::Possibly)
            };
            let judged = outcome::<()>(Err(error), &[]);
            assert!(matches!(judged, SendOutcome::Unknown(_)), "{status}");
        }
    }

    #[test]
    fn a_409_refuses_only_with_a_code_that_is_listed() {
        for (code, refused) in [
            (Some("not_allowed_here"), true),
            (Some("agent_id_conflict"), false),
            (None, false),
        ] {
            let error = failed(Some(409), code, Sent::Possibly);
            let judged = outcome::<()>(Err(error), &["not_allowed_here"]);
            assert_eq!(
                matches!(judged, SendOutcome::Rejected(_)),
                refused,
                "{code:?}"
            );
        }
    }

    #[test]
    fn what_was_not_sent_is_refused_and_what_has_no_answer_is_unknown() {
        let not_sent = failed(None, None, Sent::Nothing);
        assert_eq!(
            outcome::<()>(Err(not_sent.clone()), &[]),
            SendOutcome::Rejected(not_sent)
        );
        let lost = failed(None, None, Sent::Possibly);
        assert_eq!(
            outcome::<()>(Err(lost.clone()), &[]),
            SendOutcome::Unknown(lost)
        );
    }

    #[test]
    fn an_answer_is_accepted() {
        assert_eq!(outcome(Ok("run-1"), &[]), SendOutcome::Accepted("run-1"));
    }
}
