//! The types and reasons of conditions: closed lists, part of the API (docs/conditions.md).

/// Declares an enum whose variants are written as their names.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every member, in documented order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As written in `status`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// The member that is written like this; `None` for a word of another version.
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// Conditions of a CodeSession, in the order in which they stand in `status`.
    SessionCondition {
        /// The provider has the session.
        Launched,
        /// Unknown while active, True after Finished, False after Error, Cancelled or Expired.
        Succeeded,
        /// The session has ended, however.
        Completed,
        /// The agent waits for a person.
        Blocked,
        /// There is a pull request.
        PullRequestCreated,
        /// It is put away: the operator does nothing more for it.
        Archived,
        /// The webhook took the newest report.
        WebhookDelivered,
        /// The operator or the provider still works on it.
        Reconciling,
        /// It will not get further without help.
        Stalled,
    }
}

words! {
    /// Conditions of a CodeAgent, in the order in which they stand in `status`.
    AgentCondition {
        /// Sessions can start.
        Ready,
        /// The provider accepts the key.
        CredentialsValid,
        /// The provider answers.
        ProviderReachable,
        /// The operator still works on it.
        Reconciling,
        /// It will not get further without help.
        Stalled,
    }
}

words! {
    /// Why a condition is as it is.
    Reason {
        /// Nothing has happened yet.
        Pending,
        /// Waits for the CodeAgent to be created.
        AgentNotFound,
        /// The CodeAgent is suspended.
        AgentSuspended,
        /// The session is suspended.
        Suspended,
        /// Waits for a free slot (maxConcurrentSessions).
        WaitingForCapacity,
        /// Waits for a free slot of its account (--max-concurrent-per-credential).
        WaitingForAccountCapacity,
        /// Waits for the template that sessions are launched from to be there at the provider.
        WaitingForTemplate,
        /// The provider refuses to make or change the template.
        TemplateRefused,
        /// The CodeAgent is being deleted, and its template at the provider goes first.
        RemovingTemplate,
        /// The template stays at the provider.
        TemplateLeft,
        /// Waits for the open launch of another session on the same issue.
        WaitingForIssue,
        /// Waits for the end of another session that pushes to the same branch.
        WaitingForBranch,
        /// The launch waits for its turn among the requests of its key.
        WaitingForTurn,
        /// The Secret does not exist.
        SecretNotFound,
        /// The Secret lacks the label codeagents.dev/credential (of a prompt or an image: codeagents.dev/prompt; of environment
        /// variables: codeagents.dev/environment; of a webhook: codeagents.dev/webhook).
        SecretNotLabelled,
        /// The Secret lacks a key.
        SecretKeyMissing,
        /// The Secret does not allow this endpoint.
        EndpointNotAllowed,
        /// Plain http without the development flag.
        InsecureEndpoint,
        /// The source of the prompt does not exist or is unusable.
        PromptUnavailable,
        /// The source of an image does not exist, or holds no image that can be sent.
        ImageUnavailable,
        /// A Secret of envFrom holds something that cannot be sent as an environment variable, or too many of them.
        EnvironmentUnavailable,
        /// Neither agent nor session names a repository, or the place to start from where the provider must be told.
        RepositoryMissing,
        /// The key has not been checked yet.
        VerifyingCredentials,
        /// The provider does not accept the key.
        CredentialsInvalid,
        /// The provider has no coding agent of the id that the CodeAgent names.
        CodingAgentNotFound,
        /// The provider accepts the key.
        CredentialsAccepted,
        /// The account has no access to the repository, or it does not exist.
        RepositoryInaccessible,
        /// The account's quota or plan does not allow it.
        QuotaExhausted,
        /// The provider does not know the agent's model.
        ModelUnavailable,
        /// The provider refuses a setting of the CodeAgent.
        SettingsRefused,
        /// Too many requests; waits.
        RateLimited,
        /// The provider cannot be reached or cannot answer; waits.
        ProviderUnavailable,
        /// The provider answers.
        ProviderAnswers,
        /// The provider answered something that cannot be read.
        ProviderProtocolError,
        /// The provider reported a status that is not documented.
        UnknownProviderStatus,
        /// This installation has this provider switched off, or has no adapter for it.
        ProviderDisabled,
        /// The provider cannot do what the session asks for.
        CapabilityMissing,
        /// A field whose behaviour this version does not have.
        NotSupportedYet,
        /// The prompt contains a marker line of this operator.
        MarkerInPrompt,
        /// A parameter is missing, unknown or not allowed, or declared in a way that cannot be used.
        InvalidParameters,
        /// What a CodeAgent says of how its HTTP service is called, or how its answers read, cannot be used.
        InvalidMapping,
        /// The launch is claimed or under way.
        Launching,
        /// It is not known yet whether the launch arrived; the operator looks for it.
        RecoveringLaunch,
        /// It could not be found out whether the launch arrived.
        LaunchOutcomeUnknown,
        /// Our session id is taken by another session.
        AgentIdConflict,
        /// The provider has the session.
        Accepted,
        /// An interrupted launch was found again.
        Adopted,
        /// More than one session of the same launch was found.
        DuplicateLaunch,
        /// The provider refused the request because of the session's own fields.
        InvalidRequest,
        /// The machine is being prepared.
        Creating,
        /// The agent works.
        Running,
        /// Done.
        Finished,
        /// The provider reported an error.
        ProviderError,
        /// A stop is under way.
        Cancelling,
        /// Stopped on request.
        Cancelled,
        /// Stopped before it was launched.
        CancelledBeforeLaunch,
        /// Created as archived.
        ArchivedBeforeLaunch,
        /// Put away at the provider.
        Archived,
        /// Put away here alone: nothing of it can be archived at a provider.
        ArchivedLocally,
        /// The provider does not archive it; it is tried again.
        ArchiveFailing,
        /// Nobody asked for it.
        NotArchived,
        /// Ended by activeDeadlineSeconds.
        DeadlineExceeded,
        /// Ended by launchDeadlineSeconds, without a launch.
        NotLaunchedInTime,
        /// Ended by the provider's time limit.
        ProviderExpired,
        /// The provider no longer knows the session.
        SessionLost,
        /// The credentials now belong to another account.
        CredentialsChanged,
        /// A copy that was restored under another uid.
        RestoredCopy,
        /// The session's namespace was finalized by force.
        NamespaceGone,
        /// The agent waits for a person.
        WaitingForPerson,
        /// The agent does not wait for anyone.
        NotBlocked,
        /// There is a pull request.
        Created,
        /// No pull request was asked for.
        NotRequested,
        /// The session ended without a pull request.
        NoPullRequest,
        /// There is none yet.
        NotYet,
        /// The provider does not tell.
        NotReported,
        /// Sessions can start.
        Ready,
        /// Nothing is left to do.
        Settled,
        /// The provider cannot stop this session.
        CancelUnsupported,
        /// The provider refuses to stop this session and reports it as active.
        CancelRefused,
        /// Stops fail at the provider, or are taken without effect.
        CancelFailing,
        /// The API server refuses what the operator has to write.
        WriteRefused,
        /// It was left running at the provider.
        Orphaned,
        /// A message waits for the running one to end, or is about to be sent.
        MessagePending,
        /// A message is claimed or under way.
        SendingMessage,
        /// It is not known yet whether a message arrived; the operator looks for it.
        RecoveringMessage,
        /// It could not be found out whether a message arrived.
        MessageOutcomeUnknown,
        /// The provider's session works on something else; the message waits.
        SessionBusy,
        /// The session is archived at the provider and takes no further messages.
        SessionArchived,
        /// The message was dropped before it was sent.
        MessageDropped,
        /// The message cannot be sent any more.
        MessageNotSent,
        /// There is no webhook, or nothing was reported to it yet.
        NothingReported,
        /// The webhook took the newest report.
        Reported,
        /// The webhook does not take the newest report; it is tried again.
        WebhookFailing,
        /// The newest report was given up.
        WebhookUndelivered,
        /// The webhook answered that it is gone for good.
        WebhookGone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_and_every_reason_is_documented_and_nothing_else() {
        let page = include_str!("../../docs/conditions.md");
        let documented: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let known: Vec<&str> = SessionCondition::ALL
            .iter()
            .map(|kind| kind.as_str())
            .chain(AgentCondition::ALL.iter().map(|kind| kind.as_str()))
            .chain(Reason::ALL.iter().map(|reason| reason.as_str()))
            .collect();
        assert_eq!(documented, known);
    }
}
