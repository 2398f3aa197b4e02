//! What a launch is made of.

use crate::api::{ModelSpec, PullRequestSpec};
use crate::domain::environment::Environment;
use crate::domain::ids::LaunchKey;
use crate::domain::image::Image;
use crate::domain::provider_webhook::ProviderWebhook;
use crate::domain::pull_request::StartingPoint;
use crate::providers::http::SendWindow;

/// The CodeSession that is launched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchedFor {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
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
    /// Images beside the prompt, in order, at most 5: given only with [`Capability::Images`](super::Capability::Images), by URL only with
    /// [`Capability::ImageUrls`](super::Capability::ImageUrls).
    pub images: Vec<Image>,
    /// Environment variables of the hosted agent: given only with [`Capability::Environment`](super::Capability::Environment). How such
    /// a launch is found again is what [`ProviderType::environment_recovery`](super::ProviderType::environment_recovery) says.
    pub environment: Environment,
    /// URL of the repository.
    pub repository: String,
    /// Where to start in it.
    pub start: StartingPoint,
    /// The model, or the provider's default.
    pub model: Option<ModelSpec>,
    /// What happens with branch and pull request. The capabilities have been checked: an adapter sends what is set.
    pub pull_request: PullRequestSpec,
    /// The person on whose behalf it runs.
    pub on_behalf_of: Option<String>,
    /// The issue to work on, where the provider takes issues instead of prompts.
    pub issue: Option<String>,
    /// The template to launch from, with [`Capability::Templates`](super::Capability::Templates); pinned in the claim.
    pub template_id: Option<String>,
    /// Where the provider reports changes of the session: given only with [`Capability::Webhooks`](super::Capability::Webhooks). The same
    /// whenever the launch is sent again.
    pub webhook: Option<ProviderWebhook>,
    /// The CodeSession, for providers in whose objects it is named.
    pub session: LaunchedFor,
    /// How long the session may run, in seconds, where the provider can be told; the operator stops it then in any case.
    pub active_deadline_seconds: i64,
    /// When this must not be sent any more.
    pub window: SendWindow,
}
