//! The contract between the operator and a provider.
//!
//! A [`ProviderType`] is what is known of a provider without talking to it (one per line of the registry), a [`Provider`]
//! is a connection of one account to it: a [`BaseProvider`] with [`Extensions`], the optional traits
//! ([`Archiving`], [`Artifacts`], [`FollowUps`], [`Listing`], [`Models`], [`Previewing`], [`Templates`], [`Timeline`],
//! [`TimelineStream`]) for what only some providers can do. The documentation of
//! each method is the contract that the conformance tests hold every adapter to.

mod archiving;
mod artifacts;
mod cluster;
mod find;
mod follow_ups;
mod launch;
mod list;
mod models;
mod templates;
mod timeline;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

pub use self::archiving::Archiving;
pub use self::artifacts::{
    Artifact, ArtifactList, Artifacts, LONGEST_ARTIFACT_PATH, MAX_ARTIFACTS, Preview, Previewing,
};
pub use self::cluster::{Cluster, Manifest, ManifestKind};
pub use self::find::{AdoptRequest, MarkedPage, MarkedRequest};
pub use self::follow_ups::{FollowUps, MessageRequest};
pub use self::launch::{LaunchRequest, LaunchedFor};
pub use self::list::{ItemDetail, ListItem, Listing, SessionPage};
pub use self::models::{MAX_MODELS, Models};
pub use self::templates::{FoundTemplates, StoredTemplate, Template, TemplateMark, Templates};
pub use self::timeline::{
    MessageRun, NextPage, Timeline, TimelinePage, TimelineRequest, TimelineStream,
};
use super::credential::Credential;
use crate::api::{ProviderKind, ProviderSpec};
use crate::domain::ids::{InstallationId, SessionId};
pub use crate::domain::orphan::{Mark, Marked};
pub use crate::domain::provider_webhook::{DeliveryFormat, ProviderWebhook};
pub use crate::domain::remote::*;
pub use crate::domain::send::answer::{LaunchOutcome, MessageOutcome};
use crate::domain::snapshot::Snapshot;
pub use crate::providers::http::SendWindow;
pub use crate::providers::temporary::{TemporaryUrl, Token};

/// What is known of a provider without talking to it.
pub trait ProviderType: Send + Sync {
    /// Which provider this is.
    fn kind(&self) -> ProviderKind;

    /// The provider's own base URL, without a trailing slash.
    fn default_endpoint(&self, spec: &ProviderSpec) -> Url;

    /// Whether sessions run in their own namespace of the cluster, and not behind a URL: then there is neither an endpoint nor a
    /// credential, and [`Connection::cluster`] is what it is reached by. Default: no.
    fn runs_in_cluster(&self) -> bool {
        false
    }

    /// The version of the API that `spec` selects, as recorded in a claim (`v1`).
    fn api_version(&self, spec: &ProviderSpec) -> &'static str;

    /// The keys of the Secret that a connection needs besides the one that `credentials.secretRef.key` names, which is
    /// always handed over as [`API_KEY`]. Fixed and documented.
    fn further_secret_keys(&self) -> &'static [&'static str];

    /// What can be asked of the provider under these settings beside what follows from its extensions and its recovery.
    fn settings(&self, spec: &ProviderSpec) -> &'static [Capability];

    /// What follows from the extensions of its connections under these settings: [`Extensions::capabilities`] of the type that
    /// [`ProviderType::connect`] makes.
    fn extensions(&self, spec: &ProviderSpec) -> Vec<Capability>;

    /// What the provider can do under these settings, with this version of the operator.
    fn capabilities(&self, spec: &ProviderSpec) -> BTreeSet<Capability> {
        let recovers = match self.recovery(spec) {
            Recovery::ClientId | Recovery::Marker => Some(Capability::RecoverLaunch),
            Recovery::None => None,
        };
        let settings = self.settings(spec).iter().copied();
        settings
            .chain(self.extensions(spec))
            .chain(recovers)
            .collect()
    }

    /// What the provider's documentation offers beyond that: the operator does not use it yet. Nothing depends on it but the
    /// documentation.
    fn not_yet_used(&self, spec: &ProviderSpec) -> BTreeSet<Capability>;

    /// The setting on which the capabilities depend, as it stands in a manifest (`apiVersion: v1`). Default: they depend on
    /// none.
    fn variant(&self, _spec: &ProviderSpec) -> Option<&'static str> {
        None
    }

    /// Settings for every variant there is, the default first. Default: one, which stands for all settings.
    fn variants(&self) -> Vec<ProviderSpec> {
        vec![ProviderSpec::default()]
    }

    /// Whether a mapping that a user writes decides what can be done: then no other provider's refusal names this one as an alternative.
    fn depends_on_mapping(&self) -> bool {
        false
    }

    /// Whether a launch must name the branch, tag or commit to start from. Default: no, the repository's default branch is taken.
    fn needs_reference(&self) -> bool {
        false
    }

    /// How a lost launch is found again under these settings.
    fn recovery(&self, spec: &ProviderSpec) -> Recovery;

    /// How a lost launch with environment variables is found again under these settings. Default: as any other.
    fn environment_recovery(&self, spec: &ProviderSpec) -> Recovery {
        self.recovery(spec)
    }

    /// How a lost follow-up message is found again under these settings; `Some` exactly with [`Capability::FollowUp`]. Default: no
    /// messages can be sent.
    fn message_recovery(&self, _spec: &ProviderSpec) -> Option<MessageRecovery> {
        None
    }

    /// How a stop that was taken shows under these settings. Default: in the session's status.
    fn cancel_visibility(&self, _spec: &ProviderSpec) -> CancelVisibility {
        CancelVisibility::InStatus
    }

    /// How deliveries to the webhook of a launch show that they are the provider's own; `Some` where any variant has
    /// [`Capability::Webhooks`]. Default: there are none.
    fn deliveries(&self) -> Option<DeliveryFormat> {
        None
    }

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
    /// The namespace that the sessions run in, with [`ProviderType::runs_in_cluster`] alone.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// The HTTP stack; it keeps one rate limit per (endpoint, credential) across all connections.
    pub http: super::http::HttpStack,
}

/// What every connection of one account to a provider can do.
///
/// Every method bounds its own time, reads at most a few megabytes and a bounded number of pages, follows no redirect,
/// treats every answer as untrusted, and puts nothing of the credential into an error. Dropping a future stops the call;
/// whether a POST under way arrived is then unknown.
#[async_trait]
pub trait BaseProvider: Send + Sync {
    /// Who the key belongs to. The cheapest call that proves that the key is accepted; starts nothing.
    async fn verify(&self) -> Result<Account, ProviderError>;

    /// What is there before a launch on `issue`, with [`Recovery::None`], whose lost launches can only be found by comparing:
    /// goes into the claim and from there into [`AdoptRequest::baseline`]. Reads only. `None` where there is nothing to
    /// compare: a lost launch is then [`AdoptAnswer::Unknowable`].
    ///
    /// At most 4096 bytes of text that only this adapter understands, without anything secret.
    ///
    /// # Errors
    /// If the provider cannot be read now (it is down, asks for patience, or does not accept the key): nothing is launched
    /// before it can.
    async fn baseline(&self, _issue: Option<&str>) -> Result<Option<String>, ProviderError> {
        Ok(None)
    }

    /// Starts a session: **the paid call**. Exactly one POST on a fresh connection, never repeated, never redirected, and
    /// not a byte of it once `request.window` has closed.
    ///
    /// The outcome is judged by rule 1 of the launch protocol: `Accepted` needs a 2xx with an id; `Rejected` only what
    /// proves that nothing was started; everything else, and whatever is in doubt, is `Unknown`.
    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome;

    /// Looks for the session that a launch with an unknown outcome may have started. Reads only.
    ///
    /// `Found` may be answered at once; `Absent` only if the look was complete: every page was read, every session of the account
    /// that the caller does not know could be told apart from ours, of whatever time and repository. One that could be ours and
    /// cannot be told apart makes the answer `Inconclusive`. Whoever asks decides when an `Absent` counts (the fence, two scans).
    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError>;

    /// Whether `session`, which was launched for the CodeSession with `uid`, shows the mark of ours where [`BaseProvider::adopt`] looks for
    /// it: the evidence that "exactly once" stands on with [`Recovery::Marker`]. Reads only. `None` while nothing shows yet, and
    /// where no launch is found by a mark.
    async fn shows_marker(
        &self,
        _session: &SessionId,
        _installation: &InstallationId,
        _uid: &str,
    ) -> Result<Option<bool>, ProviderError> {
        Ok(None)
    }

    /// One look at a session. With a terminal phase everything there is to know is in it (result, usage, links).
    ///
    /// # Errors
    /// [`ErrorClass::NotFound`] if there is no such session for this account.
    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError>;

    /// Stops the newest message of a session. Safe to repeat.
    ///
    /// A stop is confirmed only by a later [`BaseProvider::get`] that shows a terminal phase.
    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError>;
}

/// The optional traits that a connection of type `P` implements. It is said here and nowhere else: the accessors of [`Provider`] and the
/// provider's capabilities follow from it, so that they cannot contradict each other.
///
/// An adapter writes `Extensions { listing: Some(|it| it), ..Extensions::NONE }`.
pub struct Extensions<P: ?Sized> {
    /// Puts ended sessions away: [`Capability::Archive`].
    pub archiving: Option<fn(&P) -> &dyn Archiving>,
    /// Hands out what agents left: [`Capability::Artifacts`].
    pub artifacts: Option<fn(&P) -> &dyn Artifacts>,
    /// Sends further messages to a session: [`Capability::FollowUp`].
    pub follow_ups: Option<fn(&P) -> &dyn FollowUps>,
    /// Lists the account's sessions: [`Capability::List`].
    pub listing: Option<fn(&P) -> &dyn Listing>,
    /// Lists the account's models: [`Capability::ListModels`].
    pub models: Option<fn(&P) -> &dyn Models>,
    /// Shows the machine of a session: [`Capability::Preview`].
    pub previewing: Option<fn(&P) -> &dyn Previewing>,
    /// Keeps templates at the provider: [`Capability::Templates`].
    pub templates: Option<fn(&P) -> &dyn Templates>,
    /// Reads what a session's agent does: [`Capability::Events`].
    pub timeline: Option<fn(&P) -> &dyn Timeline>,
    /// Tells it while it happens: [`Capability::Streaming`]. Only beside `timeline`.
    pub timeline_stream: Option<fn(&P) -> &dyn TimelineStream>,
}

impl<P: ?Sized> Extensions<P> {
    /// None of them.
    pub const NONE: Self = Self {
        archiving: None,
        artifacts: None,
        follow_ups: None,
        listing: None,
        models: None,
        previewing: None,
        templates: None,
        timeline: None,
        timeline_stream: None,
    };

    /// What can be done with them.
    pub fn capabilities(&self) -> Vec<Capability> {
        let Self {
            archiving,
            artifacts,
            follow_ups,
            listing,
            models,
            previewing,
            templates,
            timeline,
            timeline_stream,
        } = self;
        let all = [
            (archiving.is_some(), Capability::Archive),
            (artifacts.is_some(), Capability::Artifacts),
            (follow_ups.is_some(), Capability::FollowUp),
            (listing.is_some(), Capability::List),
            (models.is_some(), Capability::ListModels),
            (previewing.is_some(), Capability::Preview),
            (templates.is_some(), Capability::Templates),
            (timeline.is_some(), Capability::Events),
            (timeline_stream.is_some(), Capability::Streaming),
        ];
        let there = all.into_iter().filter(|(there, _)| *there);
        there.map(|(_, capability)| capability).collect()
    }
}

/// The connection of an adapter, with its extensions.
pub trait Extended: BaseProvider + Sized {
    /// The optional traits that it implements.
    const EXTENSIONS: Extensions<Self>;
}

/// A connection of one account to a provider: what every connection can do, and what this one can do besides.
pub trait Provider: BaseProvider {
    /// Where ended sessions are put away.
    fn archiving(&self) -> Option<&dyn Archiving>;

    /// What the agents of this account's sessions left.
    fn artifacts(&self) -> Option<&dyn Artifacts>;

    /// Where further messages are sent to a session.
    fn follow_ups(&self) -> Option<&dyn FollowUps>;

    /// The sessions of this account.
    fn listing(&self) -> Option<&dyn Listing>;

    /// The models of this account.
    fn models(&self) -> Option<&dyn Models>;

    /// The machines that this account's agents work on.
    fn previewing(&self) -> Option<&dyn Previewing>;

    /// The templates that this account keeps at the provider.
    fn templates(&self) -> Option<&dyn Templates>;

    /// What the agents of this account's sessions do.
    fn timeline(&self) -> Option<&dyn Timeline>;

    /// The same while it happens.
    fn timeline_stream(&self) -> Option<&dyn TimelineStream>;
}

impl<P: Extended> Provider for P {
    fn archiving(&self) -> Option<&dyn Archiving> {
        P::EXTENSIONS.archiving.map(|of| of(self))
    }

    fn artifacts(&self) -> Option<&dyn Artifacts> {
        P::EXTENSIONS.artifacts.map(|of| of(self))
    }

    fn follow_ups(&self) -> Option<&dyn FollowUps> {
        P::EXTENSIONS.follow_ups.map(|of| of(self))
    }

    fn listing(&self) -> Option<&dyn Listing> {
        P::EXTENSIONS.listing.map(|of| of(self))
    }

    fn models(&self) -> Option<&dyn Models> {
        P::EXTENSIONS.models.map(|of| of(self))
    }

    fn previewing(&self) -> Option<&dyn Previewing> {
        P::EXTENSIONS.previewing.map(|of| of(self))
    }

    fn templates(&self) -> Option<&dyn Templates> {
        P::EXTENSIONS.templates.map(|of| of(self))
    }

    fn timeline(&self) -> Option<&dyn Timeline> {
        P::EXTENSIONS.timeline.map(|of| of(self))
    }

    fn timeline_stream(&self) -> Option<&dyn TimelineStream> {
        P::EXTENSIONS.timeline_stream.map(|of| of(self))
    }
}
