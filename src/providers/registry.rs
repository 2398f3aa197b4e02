//! Every provider there is.

use std::collections::BTreeSet;

use super::contract::ProviderType;
use super::cursor::Cursor;
use super::firebender::Firebender;
use super::firetiger::FiretigerType;
use super::flapjack::FlapjackType;
use super::http_agent::HttpAgentType;
use super::job::JobType;
use crate::api::{ProviderKind, ProviderSpec};
use crate::domain::remote::ProviderCapabilities;

/// The providers that this build can talk to.
static PROVIDERS: &[&dyn ProviderType] = &[
    &Cursor,
    &Firebender,
    &FlapjackType,
    &FiretigerType,
    &HttpAgentType,
    &JobType,
];

/// Looks up providers.
#[derive(Clone, Copy, Debug)]
pub struct Registry;

impl Registry {
    /// Every provider, in the order of the documentation.
    pub fn all() -> &'static [&'static dyn ProviderType] {
        PROVIDERS
    }

    /// The provider of this kind, if this build can talk to it.
    pub fn get(kind: ProviderKind) -> Option<&'static dyn ProviderType> {
        Self::all()
            .iter()
            .find(|provider| provider.kind() == kind)
            .copied()
    }

    /// What the providers of these kinds can do, in the order of the documentation, one for each variant. Those are left out that can do
    /// what a user's mapping says.
    pub fn capabilities(kinds: &BTreeSet<ProviderKind>) -> Vec<ProviderCapabilities> {
        Self::all()
            .iter()
            .filter(|provider| kinds.contains(&provider.kind()) && !provider.depends_on_mapping())
            .flat_map(|provider| {
                let variants = provider.variants().into_iter();
                variants.map(|spec| capabilities_of(*provider, &spec))
            })
            .collect()
    }
}

/// What a provider can do under these settings.
pub fn capabilities_of(provider: &dyn ProviderType, spec: &ProviderSpec) -> ProviderCapabilities {
    ProviderCapabilities {
        kind: provider.kind(),
        variant: provider.variant(spec),
        capabilities: provider.capabilities(spec),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::remote::Capability;

    #[test]
    fn each_kind_stands_there_once_and_is_found() {
        for provider in Registry::all() {
            let found = Registry::get(provider.kind()).unwrap();
            assert!(std::ptr::addr_eq(found, *provider));
            let endpoint = found.default_endpoint(&ProviderSpec::default());
            let scheme = if found.runs_in_cluster() {
                "kubernetes"
            } else {
                "https"
            };
            assert_eq!(endpoint.scheme(), scheme);
        }
    }

    #[test]
    fn every_variant_has_a_name_of_its_own_and_nothing_is_both_used_and_yet_to_come() {
        let all = ProviderKind::ALL.into_iter().collect();
        let names: Vec<String> = Registry::capabilities(&all)
            .iter()
            .map(ProviderCapabilities::full_name)
            .collect();
        assert_eq!(
            names,
            [
                "Cursor (apiVersion: v1)",
                "Cursor (apiVersion: v0)",
                "Firebender",
                "Flapjack",
                "Firetiger",
                "Job"
            ]
        );
        for provider in Registry::all() {
            for spec in provider.variants() {
                let used = provider.capabilities(&spec);
                let later = provider.not_yet_used(&spec);
                assert!(used.is_disjoint(&later), "{}", provider.kind());
            }
        }
    }

    /// What an adapter implements says what it can do; a list of its own beside that could contradict it.
    #[test]
    fn what_follows_from_an_adapter_is_in_no_list() {
        for provider in Registry::all() {
            for spec in provider.variants() {
                for listed in provider.settings(&spec) {
                    let follows = match listed {
                        Capability::Archive
                        | Capability::Artifacts
                        | Capability::Preview
                        | Capability::FollowUp
                        | Capability::List
                        | Capability::ListModels
                        | Capability::Templates
                        | Capability::Events
                        | Capability::Streaming
                        | Capability::RecoverLaunch => true,
                        Capability::Prompt
                        | Capability::Issue
                        | Capability::Images
                        | Capability::ImageUrls
                        | Capability::Environment
                        | Capability::Model
                        | Capability::ModelParameters
                        | Capability::Repository
                        | Capability::FromPullRequest
                        | Capability::BranchName
                        | Capability::WorkOnCurrentBranch
                        | Capability::WorkOnPullRequest
                        | Capability::AutoCreatePullRequest
                        | Capability::SkipReviewerRequest
                        | Capability::OnBehalfOf
                        | Capability::MessageModel
                        | Capability::Cancel
                        | Capability::Webhooks
                        | Capability::Result
                        | Capability::Usage
                        | Capability::Cost
                        | Capability::Links => false,
                    };
                    assert!(!follows, "{}: {}", provider.kind(), listed.as_str());
                }
            }
        }
    }
}
