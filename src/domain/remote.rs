//! What a provider can do, what it answers and what can go wrong: the words in which adapters and decisions talk.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ids::{AccountFingerprint, RunId, SessionId};
use super::send::answer::SendOutcome;
use super::snapshot::{RemotePhase, Snapshot};
use crate::api::Reason;

/// What can be done through a provider with this version of the operator: what the provider offers and its adapter uses.
///
/// Shown in `CodeAgent.status.capabilities`; what a session needs and is missing is refused before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// The first message is a prompt of ours.
    Prompt,
    /// The first message is an issue that the provider knows.
    Issue,
    /// Images go along with a prompt.
    Images,
    /// A model can be chosen.
    Model,
    /// The model takes parameters.
    ModelParameters,
    /// The repository can be chosen.
    Repository,
    /// The agent can start from a pull request instead of a branch.
    FromPullRequest,
    /// The name of the branch can be chosen.
    BranchName,
    /// The agent can push to the starting branch itself.
    WorkOnCurrentBranch,
    /// A pull request can be opened, or not, as asked.
    AutoCreatePullRequest,
    /// Reviewers can be left unasked.
    SkipReviewerRequest,
    /// The person behind a session is made known to the provider.
    OnBehalfOf,
    /// A launch whose answer was lost is found again, or proven not to have happened: what `launchGuarantee: ExactlyOnce`
    /// stands on.
    RecoverLaunch,
    /// Further messages can be sent to a session.
    FollowUp,
    /// A running message can be stopped.
    Cancel,
    /// A finished session can be put away at the provider.
    Archive,
    /// What the agent does can be read: its steps, not its result alone.
    Events,
    /// The same while it happens, without asking again and again.
    Streaming,
    /// The provider tells of changes by itself.
    Webhooks,
    /// Sessions can be listed, so that many are followed with one request.
    List,
    /// Models can be listed.
    ListModels,
    /// Templates are kept at the provider, one for each CodeAgent.
    Templates,
    /// What the agent says of its work in the end is reported.
    Result,
    /// Tokens are reported.
    Usage,
    /// The price is reported.
    Cost,
    /// Links to what the agent left beside its branch: recordings, traces, previews.
    Artifacts,
}

impl Capability {
    /// Every capability, in the order of the documentation.
    pub const ALL: [Self; 26] = [
        Self::Prompt,
        Self::Issue,
        Self::Images,
        Self::Model,
        Self::ModelParameters,
        Self::Repository,
        Self::FromPullRequest,
        Self::BranchName,
        Self::WorkOnCurrentBranch,
        Self::AutoCreatePullRequest,
        Self::SkipReviewerRequest,
        Self::OnBehalfOf,
        Self::RecoverLaunch,
        Self::FollowUp,
        Self::Cancel,
        Self::Archive,
        Self::Events,
        Self::Streaming,
        Self::Webhooks,
        Self::List,
        Self::ListModels,
        Self::Templates,
        Self::Result,
        Self::Usage,
        Self::Cost,
        Self::Artifacts,
    ];

    /// The name in `status.capabilities`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "Prompt",
            Self::Issue => "Issue",
            Self::Images => "Images",
            Self::Model => "Model",
            Self::ModelParameters => "ModelParameters",
            Self::Repository => "Repository",
            Self::FromPullRequest => "FromPullRequest",
            Self::BranchName => "BranchName",
            Self::WorkOnCurrentBranch => "WorkOnCurrentBranch",
            Self::AutoCreatePullRequest => "AutoCreatePullRequest",
            Self::SkipReviewerRequest => "SkipReviewerRequest",
            Self::OnBehalfOf => "OnBehalfOf",
            Self::RecoverLaunch => "RecoverLaunch",
            Self::FollowUp => "FollowUp",
            Self::Cancel => "Cancel",
            Self::Archive => "Archive",
            Self::Events => "Events",
            Self::Streaming => "Streaming",
            Self::Webhooks => "Webhooks",
            Self::List => "List",
            Self::ListModels => "ListModels",
            Self::Templates => "Templates",
            Self::Result => "Result",
            Self::Usage => "Usage",
            Self::Cost => "Cost",
            Self::Artifacts => "Artifacts",
        }
    }

    /// What can be done with it, as it follows "can" or "cannot".
    pub fn ability(self) -> &'static str {
        match self {
            Self::Prompt => "work on a prompt",
            Self::Issue => "work on an issue",
            Self::Images => "take images",
            Self::Model => "choose a model",
            Self::ModelParameters => "give the model parameters",
            Self::Repository => "choose the repository",
            Self::FromPullRequest => "start from a pull request",
            Self::BranchName => "choose the name of the branch",
            Self::WorkOnCurrentBranch => "push to the branch it starts from",
            Self::AutoCreatePullRequest => "choose whether a pull request is opened",
            Self::SkipReviewerRequest => "leave reviewers unasked",
            Self::OnBehalfOf => "name the person behind a session",
            Self::RecoverLaunch => "find a lost launch again for certain",
            Self::FollowUp => "take further messages",
            Self::Cancel => "stop a session",
            Self::Archive => "archive a session",
            Self::Events => "tell what the agent does",
            Self::Streaming => "tell it while it happens",
            Self::Webhooks => "report changes by itself",
            Self::List => "list sessions",
            Self::ListModels => "list models",
            Self::Templates => "keep a template for each CodeAgent",
            Self::Result => "tell the result",
            Self::Usage => "report tokens",
            Self::Cost => "report the price",
            Self::Artifacts => "link to recordings, traces and previews",
        }
    }
}

/// How a launch whose answer was lost is found again (launch protocol, table of providers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// The session has the id that we chose: look it up.
    ClientId,
    /// The session's first message ends with our marker: scan the list.
    Marker,
    /// It cannot be found for certain.
    None,
}

/// How a stop that was taken shows at the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopShown {
    /// Its status becomes terminal.
    InStatus,
    /// Perhaps not at all: there is no status for it, and its documentation does not say what a stop leaves. A session in
    /// which nothing moves any more counts as stopped.
    PerhapsNowhere,
}

/// Who a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Tells this account from others.
    pub fingerprint: AccountFingerprint,
    /// The key's name at the provider.
    pub name: Option<String>,
    /// The e-mail address of the key's owner.
    pub email: Option<String>,
}

/// How a launch went.
pub type LaunchOutcome = SendOutcome<Launched>;

/// What the answer to an accepted launch says.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// The provider's id of the session.
    pub session_id: SessionId,
    /// The run of the first message, where the provider has runs.
    pub run_id: Option<RunId>,
    /// The page on which a person can watch it.
    pub url: Option<String>,
    /// Where it stands.
    pub phase: RemotePhase,
    /// The same in the provider's words.
    pub raw_status: String,
    /// Whether the session has the id that we chose; `None` where the provider takes none.
    pub id_honoured: Option<bool>,
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub enum AdoptAnswer {
    /// These are ours, oldest first. More than one is a duplicate launch.
    Found(Vec<Found>),
    /// A complete look found nothing.
    Absent,
    /// The look was not complete, or candidates could not be told apart. `resume` goes on with it, or says that the next look
    /// begins anew; so does `None`.
    Inconclusive {
        /// Why, for people.
        why: String,
        /// Where to go on.
        resume: Option<ScanState>,
    },
    /// The id of the newest attempt is taken by a session that is not ours.
    Foreign {
        /// What speaks against it being ours.
        why: String,
    },
    /// This provider offers no way to look.
    Unknowable,
}

/// A session that a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What the look says of it.
    pub snapshot: Snapshot,
    /// The attempt that launched it, where the marker says so.
    pub attempt: Option<i32>,
    /// What is not as it was asked for, although the evidence says that it is ours: for people, as it follows "although".
    pub doubt: Option<String>,
}

/// How far a scan over several passes has come. Kept in memory only; a restart begins anew.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanState<F = Found> {
    /// The page to read next; `None` is the first.
    pub next: Option<PageToken>,
    /// Found so far.
    pub found: Vec<F>,
    /// Candidates that could not be judged yet.
    pub undecided: BTreeSet<SessionId>,
    /// Candidates that were judged and are not ours.
    pub rejected: BTreeSet<SessionId>,
    /// Whether candidates were passed over in this round, because of their time or repository.
    pub passed_over: bool,
    /// Whether this round looks at those as well.
    pub far: bool,
    /// Whether the round is over: the next pass begins at the first page, and only after a pause, because the same candidates
    /// would be no clearer at once. Otherwise it goes on where this one stopped.
    pub begin_anew: bool,
}

// Derived, it would ask for a default of what is found.
impl<F> Default for ScanState<F> {
    fn default() -> Self {
        Self {
            next: None,
            found: Vec::new(),
            undecided: BTreeSet::new(),
            rejected: BTreeSet::new(),
            passed_over: false,
            far: false,
            begin_anew: false,
        }
    }
}

/// A session at the provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// The provider's id.
    pub session_id: SessionId,
    /// The run of the newest message, where known.
    pub run_id: Option<RunId>,
}

/// How the provider answered a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// Taken (2xx). Look again to see it confirmed.
    Accepted,
    /// There was nothing to stop: it ended before, or is not stoppable now. A look decides. The provider's words, if it has any, as
    /// those of a [`ProviderError`].
    NotCancellable(Option<String>),
    /// This provider or this session cannot be stopped at all.
    Unsupported,
}

/// A position in a list, opaque to us.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageToken(pub String);

/// What a failure means. The class decides what happens next; the message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The provider refuses the request as it is: sending it again changes nothing.
    InvalidRequest,
    /// The key is not accepted (401).
    Unauthorized,
    /// The key is accepted but may not do this (403).
    Forbidden,
    /// There is no such thing (404), or not for this account.
    NotFound,
    /// The state of the session does not allow this now (409).
    Conflict,
    /// Too many requests (429).
    RateLimited,
    /// The plan, budget or quota of the account is used up (402, or a code that says so).
    QuotaExhausted,
    /// The provider cannot be reached or cannot answer (connection failures, 5xx).
    Unavailable,
    /// No answer within the time limit.
    Timeout,
    /// An answer that is not the provider's own: a web page, or a refusal without the provider's shape. It comes from something
    /// in between (proxy, firewall, gateway) and proves nothing of key, session or launch.
    Intermediary,
    /// An answer that no document names (3xx, odd codes).
    Unknown,
    /// An answer that cannot be read: broken or oversized body, fields missing, wrong types.
    Protocol,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::Unknown,
        Self::Protocol,
    ];

    /// The class that is written like this; `None` for a word of another version.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// The label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::RateLimited => "RateLimited",
            Self::QuotaExhausted => "QuotaExhausted",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::Intermediary => "Intermediary",
            Self::Unknown => "Unknown",
            Self::Protocol => "Protocol",
        }
    }
}

/// What a refusal is about, where the provider says so: decides whether the session itself is wrong or the
/// CodeAgent, the credentials or the account behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The model or its parameters.
    Model,
    /// The repository: unknown, or the account has no access to it.
    Repository,
    /// The branch or reference to start from.
    Reference,
    /// The id that we chose is taken.
    SessionId,
    /// The issue to work on: the provider does not know it.
    Issue,
    /// The provider's agent that the CodeAgent names: there is none, or it is something else.
    CodingAgent,
}

/// How much of the request left this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Nothing: it failed before any byte of the request was written (name lookup, connection, TLS handshake, or our
    /// own last check).
    Nothing,
    /// Some or all of it.
    Possibly,
}

/// A failed call.
///
/// `message` is the provider's own text (at most 512 characters, control characters removed, no credential in it) or
/// ours where there is none. It is fit for `status` and events.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What it means.
    pub class: ErrorClass,
    /// What it is about, where known.
    pub subject: Option<Subject>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The provider's machine-readable code, where there was one.
    pub code: Option<String>,
    /// The text for people.
    pub message: String,
    /// How long the provider asks us to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Whether the request can have arrived.
    pub sent: Sent,
}

impl ProviderError {
    /// The reason that an outage goes by.
    pub fn outage(&self) -> Reason {
        match self.class {
            ErrorClass::RateLimited => Reason::RateLimited,
            ErrorClass::Protocol | ErrorClass::Unknown => Reason::ProviderProtocolError,
            ErrorClass::InvalidRequest
            | ErrorClass::Unauthorized
            | ErrorClass::Forbidden
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::QuotaExhausted
            | ErrorClass::Unavailable
            | ErrorClass::Intermediary
            | ErrorClass::Timeout => Reason::ProviderUnavailable,
        }
    }

    /// A failure before anything was sent.
    pub fn unsent(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            subject: None,
            status: None,
            code: None,
            message: message.into(),
            retry_after: None,
            sent: Sent::Nothing,
        }
    }

    /// An answer that cannot be read or says something impossible.
    pub fn unreadable(status: Option<u16>, message: impl Into<String>) -> Self {
        Self {
            status,
            sent: Sent::Possibly,
            ..Self::unsent(ErrorClass::Protocol, message)
        }
    }
}
