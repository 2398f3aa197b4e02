//! What a provider can do, and the sentence with which a refusal says that one cannot and names those that can.

use std::collections::BTreeSet;

use crate::api::ProviderKind;

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
    /// Images are given by their URL as well, and the provider reads them there.
    ImageUrls,
    /// The hosted agent can be given environment variables.
    Environment,
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
    /// The agent can push to the branch of the pull request that it starts from.
    WorkOnPullRequest,
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
    /// A further message can name another model.
    MessageModel,
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
    /// Links to recordings, traces and previews stand in the status.
    Links,
    /// The files that the agent left beside its branch can be listed and fetched.
    Artifacts,
    /// The machine that the agent works on can be watched live.
    Preview,
}

impl Capability {
    /// Every capability, in the order of the documentation.
    pub const ALL: [Self; 32] = [
        Self::Prompt,
        Self::Issue,
        Self::Images,
        Self::ImageUrls,
        Self::Environment,
        Self::Model,
        Self::ModelParameters,
        Self::Repository,
        Self::FromPullRequest,
        Self::BranchName,
        Self::WorkOnCurrentBranch,
        Self::WorkOnPullRequest,
        Self::AutoCreatePullRequest,
        Self::SkipReviewerRequest,
        Self::OnBehalfOf,
        Self::RecoverLaunch,
        Self::FollowUp,
        Self::MessageModel,
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
        Self::Links,
        Self::Artifacts,
        Self::Preview,
    ];

    /// The name in `status.capabilities`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "Prompt",
            Self::Issue => "Issue",
            Self::Images => "Images",
            Self::ImageUrls => "ImageUrls",
            Self::Environment => "Environment",
            Self::Model => "Model",
            Self::ModelParameters => "ModelParameters",
            Self::Repository => "Repository",
            Self::FromPullRequest => "FromPullRequest",
            Self::BranchName => "BranchName",
            Self::WorkOnCurrentBranch => "WorkOnCurrentBranch",
            Self::WorkOnPullRequest => "WorkOnPullRequest",
            Self::AutoCreatePullRequest => "AutoCreatePullRequest",
            Self::SkipReviewerRequest => "SkipReviewerRequest",
            Self::OnBehalfOf => "OnBehalfOf",
            Self::RecoverLaunch => "RecoverLaunch",
            Self::FollowUp => "FollowUp",
            Self::MessageModel => "MessageModel",
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
            Self::Links => "Links",
            Self::Artifacts => "Artifacts",
            Self::Preview => "Preview",
        }
    }

    /// What can be done with it, as it follows "can" or "cannot".
    pub fn ability(self) -> &'static str {
        match self {
            Self::Prompt => "work on a prompt",
            Self::Issue => "work on an issue",
            Self::Images => "take images",
            Self::ImageUrls => "read images from a URL",
            Self::Environment => "give the agent environment variables",
            Self::Model => "choose a model",
            Self::ModelParameters => "give the model parameters",
            Self::Repository => "choose the repository",
            Self::FromPullRequest => "start from a pull request",
            Self::BranchName => "choose the name of the branch",
            Self::WorkOnCurrentBranch => "push to the branch it starts from",
            Self::WorkOnPullRequest => "push to the pull request it starts from",
            Self::AutoCreatePullRequest => "choose whether a pull request is opened",
            Self::SkipReviewerRequest => "leave reviewers unasked",
            Self::OnBehalfOf => "name the person behind a session",
            Self::RecoverLaunch => "find a lost launch again for certain",
            Self::FollowUp => "take further messages",
            Self::MessageModel => "choose a model for a further message",
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
            Self::Links => "link to recordings, traces and previews",
            Self::Artifacts => "hand out the files that the agent left",
            Self::Preview => "show the machine that the agent works on",
        }
    }
}

/// How a follow-up message whose answer was lost is found again (docs/protocol.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageRecovery {
    /// It ends with our marker: read the session's conversation.
    Marker,
    /// The provider numbers what runs: of what is newer than the newest of before, one is ours.
    Baseline,
}

/// How a stop that was taken shows at the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelVisibility {
    /// Its status becomes terminal.
    InStatus,
    /// Perhaps not at all: there is no status for it, and its documentation does not say what a stop leaves. A session in
    /// which nothing moves any more counts as stopped.
    Unobservable,
}

/// A provider, under the settings that make a difference to what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCapabilities {
    /// Which provider.
    pub kind: ProviderKind,
    /// The setting that makes the difference, as it stands in a manifest (`apiVersion: v0`); `None` where none does.
    pub variant: Option<&'static str>,
    /// What can be done.
    pub capabilities: BTreeSet<Capability>,
}

impl ProviderCapabilities {
    /// Whether this can be done.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The name for people; with the variant, if there is one: `Cursor (apiVersion: v0)`.
    pub fn full_name(&self) -> String {
        let name = self.kind.display_name();
        match self.variant {
            Some(variant) => format!("{name} ({variant})"),
            None => name.to_owned(),
        }
    }
}

/// Says that `asked` cannot do something, and which of `installed` can: "Firetiger cannot choose a model; Cursor and Flapjack can".
/// A variant is named only where it makes the difference.
pub fn unsupported_message(
    asked: &ProviderCapabilities,
    capability: Capability,
    installed: &[ProviderCapabilities],
) -> String {
    let ability = capability.ability();
    let another_variant_can = installed
        .iter()
        .any(|provider| provider.kind == asked.kind && provider.can(capability));
    let name = if another_variant_can {
        asked.full_name()
    } else {
        asked.kind.display_name().to_owned()
    };
    let able: Vec<String> = ProviderKind::ALL
        .into_iter()
        .flat_map(|kind| names_of_the_able(kind, capability, installed))
        .collect();
    match able.split_last() {
        None => format!("{name} cannot {ability}, nor can any provider of this installation"),
        Some((only, [])) => format!("{name} cannot {ability}; {only} can"),
        Some((last, others)) => {
            format!(
                "{name} cannot {ability}; {} and {last} can",
                others.join(", ")
            )
        }
    }
}

fn names_of_the_able(
    kind: ProviderKind,
    capability: Capability,
    installed: &[ProviderCapabilities],
) -> Vec<String> {
    let variants = || installed.iter().filter(|provider| provider.kind == kind);
    let able: Vec<&ProviderCapabilities> = variants()
        .filter(|provider| provider.can(capability))
        .collect();
    if !able.is_empty() && able.len() == variants().count() {
        return vec![kind.display_name().to_owned()];
    }
    able.into_iter()
        .map(ProviderCapabilities::full_name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider<const N: usize>(
        kind: ProviderKind,
        variant: Option<&'static str>,
        capabilities: [Capability; N],
    ) -> ProviderCapabilities {
        ProviderCapabilities {
            kind,
            variant,
            capabilities: capabilities.into(),
        }
    }

    fn v1() -> ProviderCapabilities {
        provider(
            ProviderKind::Cursor,
            Some("apiVersion: v1"),
            [Capability::Model, Capability::ModelParameters],
        )
    }

    fn v0() -> ProviderCapabilities {
        provider(
            ProviderKind::Cursor,
            Some("apiVersion: v0"),
            [Capability::Model, Capability::BranchName],
        )
    }

    fn firebender() -> ProviderCapabilities {
        provider(
            ProviderKind::Firebender,
            None,
            [Capability::Model, Capability::BranchName],
        )
    }

    fn flapjack() -> ProviderCapabilities {
        provider(ProviderKind::Flapjack, None, [Capability::Model])
    }

    fn firetiger() -> ProviderCapabilities {
        provider(ProviderKind::Firetiger, None, [Capability::Issue])
    }

    fn all() -> [ProviderCapabilities; 5] {
        [v1(), v0(), firebender(), flapjack(), firetiger()]
    }

    #[test]
    fn everyone_who_can_is_named_in_the_order_of_the_documentation() {
        assert_eq!(
            unsupported_message(&firetiger(), Capability::Model, &all()),
            "Firetiger cannot choose a model; Cursor, Firebender and Flapjack can"
        );
    }

    #[test]
    fn the_variant_is_named_where_it_makes_the_difference() {
        for (asked, capability, sentence) in [
            (
                v1(),
                Capability::BranchName,
                "Cursor (apiVersion: v1) cannot choose the name of the branch; Cursor (apiVersion: v0) and Firebender can",
            ),
            (
                flapjack(),
                Capability::ModelParameters,
                "Flapjack cannot give the model parameters; Cursor (apiVersion: v1) can",
            ),
            (
                v0(),
                Capability::Issue,
                "Cursor cannot work on an issue; Firetiger can",
            ),
        ] {
            assert_eq!(unsupported_message(&asked, capability, &all()), sentence);
        }
    }

    #[test]
    fn only_providers_of_this_installation_are_named() {
        assert_eq!(
            unsupported_message(&firetiger(), Capability::Model, &[firetiger(), flapjack()]),
            "Firetiger cannot choose a model; Flapjack can"
        );
        assert_eq!(
            unsupported_message(&firetiger(), Capability::Model, &[firetiger()]),
            "Firetiger cannot choose a model, nor can any provider of this installation"
        );
    }
}
