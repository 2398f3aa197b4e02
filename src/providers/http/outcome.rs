//! How a launch went: rule 1 of the launch protocol, in one place for all providers.

use crate::providers::contract::{LaunchOutcome, Launched};
use crate::providers::error::{ErrorClass, ProviderError, Sent};

/// The statuses with which a provider refuses a launch before it starts anything.
pub const REFUSING_STATUSES: [u16; 11] = [400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 501];

/// Judges a launch. `refusing_conflicts` are the codes with which this provider's 409 says that nothing was started.
///
/// A refusal proves that nothing was started; whatever does not prove it leaves the launch unknown.
pub fn judge_launch(
    answer: Result<Launched, ProviderError>,
    refusing_conflicts: &[&str],
) -> LaunchOutcome {
    match answer {
        Ok(launched) => LaunchOutcome::Accepted(launched),
        Err(error) if nothing_was_started(&error, refusing_conflicts) => {
            LaunchOutcome::Rejected(error)
        }
        Err(error) => LaunchOutcome::Unknown(error),
    }
}

/// Whether a failed POST proves that it started nothing, by rule 1. `refusing_conflicts` as in [`judge_launch`].
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
    use super::super::class_of_status;
    use super::*;
    use crate::domain::ids::SessionId;
    use crate::domain::snapshot::RemotePhase;

    fn failed(status: Option<u16>, code: Option<&str>, sent: Sent) -> ProviderError {
        ProviderError {
            class: status.map_or(ErrorClass::Unavailable, class_of_status),
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
            match judge_launch(Err(error.clone()), &["agent_busy"]) {
                LaunchOutcome::Rejected(kept) => assert!(refused && kept == error, "{status}"),
                LaunchOutcome::Unknown(kept) => assert!(!refused && kept == error, "{status}"),
                LaunchOutcome::Accepted(_) => panic!("{status}"),
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
            let outcome = judge_launch(Err(error), &[]);
            assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{status}");
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
            let outcome = judge_launch(Err(error), &["not_allowed_here"]);
            assert_eq!(
                matches!(outcome, LaunchOutcome::Rejected(_)),
                refused,
                "{code:?}"
            );
        }
    }

    #[test]
    fn what_was_not_sent_is_refused_and_what_has_no_answer_is_unknown() {
        let not_sent = failed(None, None, Sent::Nothing);
        assert_eq!(
            judge_launch(Err(not_sent.clone()), &[]),
            LaunchOutcome::Rejected(not_sent)
        );
        let lost = failed(None, None, Sent::Possibly);
        assert_eq!(
            judge_launch(Err(lost.clone()), &[]),
            LaunchOutcome::Unknown(lost)
        );
    }

    #[test]
    fn an_answer_with_an_id_is_accepted() {
        let launched = Launched {
            session_id: SessionId::new("bc-1"),
            run_id: None,
            url: None,
            phase: RemotePhase::Creating,
            raw_status: "CREATING".into(),
        };
        assert_eq!(
            judge_launch(Ok(launched.clone()), &[]),
            LaunchOutcome::Accepted(launched)
        );
    }
}
