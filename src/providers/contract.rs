//! The contract between the operator and a provider.
//!
//! Two traits: a [`ProviderType`] is what is known of a provider without talking to it (one per line of the registry), a
//! [`Provider`] is a connection of one account to it. The documentation of each method is the contract that the
//! conformance tests hold every adapter to. Follow-ups, archiving and events join [`Provider`] as further methods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use url::Url;

use super::credential::Credential;
use super::error::ProviderError;
use crate::api::{ProviderKind, ProviderSpec};
use crate::domain::ids::{AccountFingerprint, InstallationId, LaunchKey, RunId, SessionId};
use crate::domain::snapshot::{RemotePhase, Snapshot};

/// What a provider can do. Shown in `CodeAgent.status.capabilities`; what is missing is refused before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// The first message is a prompt of ours.
    Prompt,
    /// The first message is an issue that the provider knows.
    Issue,
    /// Images beside the prompt.
    Images,
    /// A model can be chosen.
    Model,
    /// The model takes parameters.
    ModelParameters,
    /// The repository can be chosen.
    Repository,
    /// The name of the branch can be chosen.
    BranchName,
    /// The agent can push to the starting branch itself.
    WorkOnCurrentBranch,
    /// A pull request can be opened, or not, as asked.
    AutoCreatePullRequest,
    /// Reviewers can be left unasked.
    SkipReviewerRequest,
    /// A running message can be stopped.
    Cancel,
    /// Sessions can be listed, so that lost ones can be found.
    List,
    /// Models can be listed.
    ListModels,
    /// Tokens or cost are reported.
    Usage,
    /// The person behind a session is made known to the provider.
    OnBehalfOf,
}

impl Capability {
    /// Every capability, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Prompt,
        Self::Issue,
        Self::Images,
        Self::Model,
        Self::ModelParameters,
        Self::Repository,
        Self::BranchName,
        Self::WorkOnCurrentBranch,
        Self::AutoCreatePullRequest,
        Self::SkipReviewerRequest,
        Self::Cancel,
        Self::List,
        Self::ListModels,
        Self::Usage,
        Self::OnBehalfOf,
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
            Self::BranchName => "BranchName",
            Self::WorkOnCurrentBranch => "WorkOnCurrentBranch",
            Self::AutoCreatePullRequest => "AutoCreatePullRequest",
            Self::SkipReviewerRequest => "SkipReviewerRequest",
            Self::Cancel => "Cancel",
            Self::List => "List",
            Self::ListModels => "ListModels",
            Self::Usage => "Usage",
            Self::OnBehalfOf => "OnBehalfOf",
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

/// What is known of a provider without talking to it.
pub trait ProviderType: Send + Sync {
    /// Which provider this is.
    fn kind(&self) -> ProviderKind;

    /// The provider's own base URL, without a trailing slash.
    fn default_endpoint(&self, spec: &ProviderSpec) -> Url;

    /// The version of the API that `spec` selects, as recorded in a claim (`v1`).
    fn api_version(&self, spec: &ProviderSpec) -> &'static str;

    /// The keys of the Secret that a connection needs besides the one that `credentials.secretRef.key` names, which is
    /// always handed over as [`API_KEY`]. Fixed and documented.
    fn further_secret_keys(&self) -> &'static [&'static str];

    /// What the provider can do under these settings.
    fn capabilities(&self, spec: &ProviderSpec) -> BTreeSet<Capability>;

    /// How a lost launch is found again under these settings.
    fn recovery(&self, spec: &ProviderSpec) -> Recovery;

    /// What `GET`s of the whole list tell of a session.
    fn list_detail(&self, spec: &ProviderSpec) -> ListDetail;

    /// Connects an account. Nothing is sent.
    ///
    /// # Errors
    /// If the credential lacks a value or one cannot be a header's value.
    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError>;
}

/// Name under which the value of `credentials.secretRef.key` is handed to a provider.
pub const API_KEY: &str = "api-key";

/// Everything a connection is made of.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The settings of the CodeAgent, as recorded with the claim.
    pub spec: ProviderSpec,
    /// The base URL to use: the provider's own, or the one that the user set and the Secret allows.
    pub endpoint: Url,
    /// The values of the Secret.
    pub credential: Credential,
    /// The HTTP stack; it keeps one rate limit per (endpoint, credential) across all connections.
    pub http: super::http::HttpStack,
}

/// What a list page tells of each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListDetail {
    /// Everything a [`Snapshot`] has: a page of the list replaces that many single looks.
    Full,
    /// Only whether something moved; what it is takes a [`Provider::get`].
    Hint,
}

/// A connection of one account to a provider.
///
/// Every method bounds its own time, reads at most a few megabytes and a bounded number of pages, follows no redirect,
/// treats every answer as untrusted, and puts nothing of the credential into an error. Dropping a future stops the call;
/// whether a POST under way arrived is then unknown.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Who the key belongs to. The cheapest call that proves that the key is accepted; starts nothing.
    async fn verify(&self) -> Result<Account, ProviderError>;

    /// The models that may be chosen, at most [`MAX_MODELS`]. Only with [`Capability::ListModels`].
    async fn models(&self) -> Result<Vec<String>, ProviderError>;

    /// Starts a session: **the paid call**. Exactly one POST on a fresh connection, never repeated, never redirected, and
    /// not a byte of it once `request.window` has closed.
    ///
    /// The outcome is judged by rule 1 of the launch protocol: `Accepted` needs a 2xx with an id; `Rejected` only what
    /// proves that nothing was started; everything else, and whatever is in doubt, is `Unknown`.
    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome;

    /// Looks for the session that a launch with an unknown outcome may have started. Reads only.
    ///
    /// `Found` may be answered at once; `Absent` only if the look was complete: every page was read, every candidate could
    /// be judged. Whoever asks decides when an `Absent` counts (the fence, two scans).
    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError>;

    /// One look at a session. With a terminal phase everything there is to know is in it (result, usage, links).
    ///
    /// # Errors
    /// [`ErrorClass::NotFound`](super::error::ErrorClass::NotFound) if there is no such session for this account.
    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError>;

    /// One page of the account's sessions. See [`ProviderType::list_detail`] for what an item holds.
    async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError>;

    /// Stops the newest message of a session. Safe to repeat.
    ///
    /// A stop is confirmed only by a later [`Provider::get`] that shows a terminal phase.
    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError>;
}

/// The most models that are kept.
pub const MAX_MODELS: usize = 100;

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

/// The moment after which a launch must not be sent any more (rule 5 of the launch protocol).
#[derive(Clone, Copy, Debug)]
pub struct SendWindow {
    /// By wall clock: `notAfter` of the claim.
    pub not_after: Timestamp,
    /// By monotonic clock: when the claim's write was begun.
    pub opened: Instant,
    /// How long after `opened` the first byte may still be written.
    pub length: Duration,
}

impl SendWindow {
    /// Whether sending may still begin, by both clocks.
    pub fn is_open(&self) -> bool {
        Timestamp::now() < self.not_after && self.opened.elapsed() < self.length
    }
}

/// What a launch sends.
#[derive(Clone, Debug)]
pub struct LaunchRequest {
    /// The attempt's key. Same attempt, same key.
    pub key: LaunchKey,
    /// What people see as the session's name (`namespace/name`); an adapter adds [`LaunchKey::short`] where a name helps to
    /// find the session again.
    pub name: String,
    /// Preamble, prompt and marker line, as they are to be sent.
    pub prompt: String,
    /// URL of the repository.
    pub repository: String,
    /// Branch, tag or commit to start from; the repository's default branch if absent.
    pub reference: Option<String>,
    /// The model, or the provider's default.
    pub model: Option<ModelChoice>,
    /// What happens with branch and pull request.
    pub pull_request: PullRequestPolicy,
    /// The person on whose behalf it runs.
    pub on_behalf_of: Option<String>,
    /// The issue to work on, where the provider takes issues instead of prompts.
    pub issue: Option<String>,
    /// When this must not be sent any more.
    pub window: SendWindow,
}

/// A model with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    /// The provider's id of the model.
    pub id: String,
    /// Parameters by name.
    pub params: BTreeMap<String, String>,
}

/// What happens with branch and pull request. The capabilities have been checked: an adapter sends what is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRequestPolicy {
    /// Open a pull request when done.
    pub auto_create: bool,
    /// Push to the starting branch instead of a new one.
    pub work_on_current_branch: bool,
    /// Do not ask anyone for a review.
    pub skip_reviewer_request: bool,
    /// Name of the branch to create.
    pub branch_name: Option<String>,
}

/// How a launch went.
#[derive(Clone, Debug, PartialEq)]
pub enum LaunchOutcome {
    /// The provider has it.
    Accepted(Launched),
    /// Nothing was started, for certain.
    Rejected(ProviderError),
    /// It may have been started.
    Unknown(ProviderError),
}

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
}

/// What a lookup needs to know.
#[derive(Clone, Debug)]
pub struct AdoptRequest {
    /// Keys of every attempt of the session, newest first.
    pub keys: Vec<LaunchKey>,
    /// This installation, as written in the marker.
    pub installation: InstallationId,
    /// The session's uid, as written in the marker.
    pub uid: String,
    /// URL of the repository that was asked for.
    pub repository: String,
    /// Sessions created before this are not candidates.
    pub created_from: Timestamp,
    /// Sessions created after this are not candidates.
    pub created_until: Timestamp,
    /// Sessions that belong to another CodeSession.
    pub owned: BTreeSet<SessionId>,
    /// With [`Recovery::ClientId`]: whether this endpoint and account have been seen to honour our id. If not, a lookup that
    /// does not find the id scans the list for our marker as well.
    pub client_id_honoured: bool,
    /// Where the previous, unfinished scan stopped.
    pub resume: Option<ScanState>,
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub enum AdoptAnswer {
    /// These are ours, oldest first. More than one is a duplicate launch.
    Found(Vec<Found>),
    /// A complete look found nothing.
    Absent,
    /// The look was not complete. `resume` goes on with it; `None` begins anew.
    Inconclusive {
        /// Why, for people.
        why: String,
        /// Where to go on.
        resume: Option<ScanState>,
    },
    /// Our id is taken by a session that is not ours.
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
}

/// How far a scan over several passes has come. Kept in memory only; a restart begins anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanState {
    /// The page to read next; `None` is the first.
    pub next: Option<PageToken>,
    /// Found so far.
    pub found: Vec<Found>,
    /// Candidates that could not be judged yet.
    pub undecided: BTreeSet<SessionId>,
    /// Candidates that were judged and are not ours.
    pub rejected: BTreeSet<SessionId>,
}

/// A position in a list, opaque to us.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageToken(pub String);

/// A session at the provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// The provider's id.
    pub session_id: SessionId,
    /// The run of the newest message, where known.
    pub run_id: Option<RunId>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    /// The sessions, in the provider's order.
    pub items: Vec<ListItem>,
    /// The next page; `None` at the end.
    pub next: Option<PageToken>,
}

/// One session in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListItem {
    /// The provider's id.
    pub session_id: SessionId,
    /// When it was created, where the list says so.
    pub created_at: Option<Timestamp>,
    /// What the list tells.
    pub detail: ItemDetail,
}

/// What a list tells of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemDetail {
    /// Everything (boxed: it is much larger than a hint).
    Full(Box<Snapshot>),
    /// A text that changes when something about the session may have changed.
    Hint(String),
}

/// How the provider answered a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// Taken (2xx). Look again to see it confirmed.
    Accepted,
    /// There was nothing to stop: it ended before, or is not stoppable now. A look decides.
    NotCancellable,
    /// This provider or this session cannot be stopped at all.
    Unsupported,
}
