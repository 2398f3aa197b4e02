use serde::{Deserialize, Serialize};

/// How a run ended. `Cancelled` is what was decided (the runner was told to stop), never read from how the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    Finished,
    Failed,
    Cancelled,
}

/// Why a run ended as it did, and so the runner's exit code. Exit codes that are not here are the container runtime's: 137 is the
/// kernel's or Kubernetes' SIGKILL, told by the container's own reason.
///
/// - 10 to 13 and 20: the agent was not started, nothing was spent;
/// - 21 to 29: the agent ended so, and nothing was pushed;
/// - 30 and 31: the agent finished, its work is in the workspace, but not all of it at the repository's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// 0: the agent said that it finished, and what was asked for is pushed.
    Completed,
    /// 10: the task cannot be read or contradicts itself.
    InvalidTask,
    /// 11: the repository could not be read: network, host, or a reference that is not there.
    CloneFailed,
    /// 12: the repository's host refuses the token, or wants one.
    RepositoryRefused,
    /// 13: the branch went on elsewhere, so that what is in the workspace cannot be pushed onto it.
    BranchConflict,
    /// 20: the image holds no such program: the agent, or git.
    CommandNotFound,
    /// 21: the agent did not come to its work: it refused its arguments, or its home cannot be written.
    AgentStartFailed,
    /// 22: the model's API refuses the key, or there is none.
    AuthenticationFailed,
    /// 23: the model's API failed or could not be reached.
    ModelApiFailed,
    /// 24: the agent reached its limit of turns.
    TurnLimit,
    /// 25: the agent reached its limit of cost.
    BudgetExceeded,
    /// 26: the agent does not have the conversation that this message belongs to.
    ConversationLost,
    /// 27: the agent failed otherwise.
    AgentFailed,
    /// 28: the agent ended with exit code 0 and never said that it finished.
    NoSuccessLine,
    /// 29: the agent said nothing for the time that the task allows.
    IdleTimeout,
    /// 30: what the agent did could not be committed or pushed.
    PushFailed,
    /// 31: the branch is pushed, but the pull request could not be opened.
    PullRequestFailed,
    /// 32: the workspace is full.
    WorkspaceFull,
    /// 40: the runner was told to stop (SIGTERM).
    Cancelled,
}

impl Reason {
    /// Every reason, by exit code.
    pub const ALL: [Self; 19] = [
        Self::Completed,
        Self::InvalidTask,
        Self::CloneFailed,
        Self::RepositoryRefused,
        Self::BranchConflict,
        Self::CommandNotFound,
        Self::AgentStartFailed,
        Self::AuthenticationFailed,
        Self::ModelApiFailed,
        Self::TurnLimit,
        Self::BudgetExceeded,
        Self::ConversationLost,
        Self::AgentFailed,
        Self::NoSuccessLine,
        Self::IdleTimeout,
        Self::PushFailed,
        Self::PullRequestFailed,
        Self::WorkspaceFull,
        Self::Cancelled,
    ];

    /// The exit code of the runner, one for each reason.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::InvalidTask => 10,
            Self::CloneFailed => 11,
            Self::RepositoryRefused => 12,
            Self::BranchConflict => 13,
            Self::CommandNotFound => 20,
            Self::AgentStartFailed => 21,
            Self::AuthenticationFailed => 22,
            Self::ModelApiFailed => 23,
            Self::TurnLimit => 24,
            Self::BudgetExceeded => 25,
            Self::ConversationLost => 26,
            Self::AgentFailed => 27,
            Self::NoSuccessLine => 28,
            Self::IdleTimeout => 29,
            Self::PushFailed => 30,
            Self::PullRequestFailed => 31,
            Self::WorkspaceFull => 32,
            Self::Cancelled => 40,
        }
    }

    /// The reason of an exit code; `None` for one that the runner does not use.
    #[must_use]
    pub fn from_exit_code(code: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| i32::from(reason.exit_code()) == code)
    }

    /// The outcome that goes with it.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Completed => Outcome::Finished,
            Self::Cancelled => Outcome::Cancelled,
            Self::InvalidTask
            | Self::CloneFailed
            | Self::RepositoryRefused
            | Self::BranchConflict
            | Self::CommandNotFound
            | Self::AgentStartFailed
            | Self::AuthenticationFailed
            | Self::ModelApiFailed
            | Self::TurnLimit
            | Self::BudgetExceeded
            | Self::ConversationLost
            | Self::AgentFailed
            | Self::NoSuccessLine
            | Self::IdleTimeout
            | Self::PushFailed
            | Self::PullRequestFailed
            | Self::WorkspaceFull => Outcome::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_code_of_its_own_and_is_found_by_it() {
        let mut before = None;
        for reason in Reason::ALL {
            assert!(before < Some(reason.exit_code()), "{reason:?}");
            before = Some(reason.exit_code());
            assert_eq!(
                Reason::from_exit_code(reason.exit_code().into()),
                Some(reason)
            );
        }
        for other in [-1, 1, 137, 143, 256] {
            assert_eq!(Reason::from_exit_code(other), None);
        }
    }
}
