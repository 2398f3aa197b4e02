//! Any HTTP service, called and read as its CodeAgent says (`spec.provider.http`).
//!
//! What can be asked of it, and how a lost launch is found again, follows from the mapping: a key of ours that is the session's id
//! ([`Recovery::ClientId`]), a list and the prompts of its sessions ([`Recovery::Marker`]), or nothing ([`Recovery::None`]: at most once).

mod agent;
mod connection;
mod example;
mod sessions;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderName;
use url::Url;

use self::connection::HttpAgent;
use super::contract::{
    API_KEY, Capability, Connection, MessageRecovery, Provider, ProviderType, Recovery,
};
use super::error::{ErrorClass, ProviderError};
use super::http::Auth;
use crate::api::{HttpKey, HttpSpec, ProviderKind, ProviderSpec};
use crate::domain::ids::AccountFingerprint;
use crate::domain::mapping::{Mapping, Name};

/// What is known of HTTP services without talking to one.
#[derive(Clone, Copy, Debug)]
pub(super) struct HttpAgentType;

/// The mapping of a CodeAgent, if there is one that can be used.
fn mapping(spec: &ProviderSpec) -> Option<Mapping> {
    Mapping::new(spec.http.as_ref()?).ok()
}

/// What there is a place for in the request that starts a session.
fn places(mapping: &Mapping) -> Vec<Capability> {
    let names = mapping.launch.names();
    let places = [
        (Name::Prompt, Capability::Prompt),
        (Name::Model, Capability::Model),
        (Name::Repository, Capability::Repository),
        (Name::PullRequestUrl, Capability::FromPullRequest),
        (Name::BranchName, Capability::BranchName),
        (
            Name::AutoCreatePullRequest,
            Capability::AutoCreatePullRequest,
        ),
    ];
    let there = places.iter().filter(|(name, _)| names.contains(name));
    let session = &mapping.session;
    let told = [
        (mapping.cancel.is_some(), Capability::Cancel),
        (session.tells_result(), Capability::Result),
        (session.tells_usage(), Capability::Usage),
        (session.tells_cost(), Capability::Cost),
    ];
    let told = told.iter().filter(|(there, _)| *there);
    there
        .map(|(_, capability)| *capability)
        .chain(told.map(|(_, capability)| *capability))
        .collect()
}

impl ProviderType for HttpAgentType {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Http
    }

    /// There is none: every CodeAgent names its own, which its Secret must allow. Nothing is ever sent to this one (RFC 2606).
    #[expect(
        clippy::expect_used,
        reason = "a constant that the registry's test parses"
    )]
    fn default_endpoint(&self, _: &ProviderSpec) -> Url {
        Url::parse("https://endpoint.invalid").expect("a valid URL")
    }

    fn api_version(&self, _: &ProviderSpec) -> &'static str {
        "mapping"
    }

    fn further_secret_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn settings(&self, _: &ProviderSpec) -> &'static [Capability] {
        &[]
    }

    fn extensions(&self, spec: &ProviderSpec) -> Vec<Capability> {
        let Some(mapping) = mapping(spec) else {
            return Vec::new();
        };
        let extensions = [
            (mapping.archive.is_some(), Capability::Archive),
            (mapping.message.is_some(), Capability::FollowUp),
            (mapping.list.is_some(), Capability::List),
        ];
        let there = extensions.into_iter().filter(|(there, _)| *there);
        there.map(|(_, capability)| capability).collect()
    }

    fn capabilities(&self, spec: &ProviderSpec) -> BTreeSet<Capability> {
        let Some(mapping) = mapping(spec) else {
            return BTreeSet::new();
        };
        let recovers = match self.recovery(spec) {
            Recovery::ClientId | Recovery::Marker => Some(Capability::RecoverLaunch),
            Recovery::None => None,
        };
        let places = places(&mapping).into_iter();
        places
            .chain(self.extensions(spec))
            .chain(recovers)
            .collect()
    }

    fn not_yet_used(&self, _: &ProviderSpec) -> BTreeSet<Capability> {
        BTreeSet::new()
    }

    fn variants(&self) -> Vec<ProviderSpec> {
        vec![example::whole()]
    }

    fn depends_on_mapping(&self) -> bool {
        true
    }

    fn recovery(&self, spec: &ProviderSpec) -> Recovery {
        match mapping(spec) {
            Some(mapping) if mapping.key == Some(HttpKey::SessionId) => Recovery::ClientId,
            Some(mapping) if mapping.shows_prompts() => Recovery::Marker,
            Some(_) | None => Recovery::None,
        }
    }

    fn message_recovery(&self, spec: &ProviderSpec) -> Option<MessageRecovery> {
        let mapping = mapping(spec)?;
        mapping.message.as_ref()?;
        Some(match mapping.conversation.is_some() {
            true => MessageRecovery::Marker,
            false => MessageRecovery::Baseline,
        })
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        let unusable = |why: String| ProviderError::unsent(ErrorClass::InvalidRequest, why);
        let spec: HttpSpec = connection
            .spec
            .http
            .ok_or_else(|| unusable("spec.provider.http is missing".to_owned()))?;
        let mapping = Mapping::new(&spec)
            .map_err(|misfit| unusable(format!("spec.provider.http.{misfit}")))?;
        let key = connection.credential.require(API_KEY)?;
        let header = HeaderName::try_from(spec.auth.header.as_str()).map_err(|_| {
            unusable("spec.provider.http.auth.header: this is no header".to_owned())
        })?;
        let value = zeroize::Zeroizing::new(match spec.auth.scheme.as_str() {
            "" => key.to_owned(),
            scheme => format!("{scheme} {key}"),
        });
        let api = connection.http.api(
            ProviderKind::Http,
            &connection.endpoint,
            &connection.credential,
            Auth::Header(header, &value),
        )?;
        Ok(Arc::new(HttpAgent {
            api: api.with_error_member(mapping.error_member.clone()),
            fingerprint: AccountFingerprint::of("http", &[connection.endpoint.as_str(), key]),
            mapping,
        }))
    }
}
