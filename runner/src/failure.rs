//! What ended a run early: a reason and a sentence.

use codeagent_runner_protocol::Reason;

/// Why the run did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    /// What happened, why, and what to do.
    pub message: String,
}

impl Failure {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub fn cancelled() -> Self {
        Self::new(
            Reason::Cancelled,
            "The agent was stopped, as it was asked to be.",
        )
    }

    pub fn command_not_found(program: &str) -> Self {
        let said = format!(
            "The image has no program {program} in PATH. Use an image that holds it, or name it in the agent's command."
        );
        Self::new(Reason::CommandNotFound, said)
    }
}
