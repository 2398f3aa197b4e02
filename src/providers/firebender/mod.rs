//! Firebender cloud agents, API v0.
//!
//! No id of ours and no idempotency key: a lost launch is found by the marker in the first message ([`prompts`]).

mod artifacts;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderName;
use url::Url;

use self::wire::Agent;
use super::contract::{
    API_KEY, Account, AdoptAnswer, AdoptRequest, ArtifactList, Artifacts, BaseProvider,
    CancelAnswer, Capability, Connection, DeliveryFormat, Extended, Extensions, FollowUps,
    LaunchOutcome, LaunchRequest, Launched, Listing, MarkedPage, MarkedRequest, MessageOutcome,
    MessageRecovery, MessageRequest, PageToken, Preview, Previewing, Provider, ProviderType,
    Recovery, SessionPage, SessionRef, TemporaryUrl, Timeline, TimelinePage, TimelineRequest,
};
use super::error::ProviderError;
use super::http::{Api, Auth, Operation, judge_launch, refuses_stop};
use super::recovery::prompts::{self, Conversation, PromptSource, Snapshots};
use super::v0_agents::{self, AgentSource, told_by_list};
use super::wire::{branch, link, link_without_query, raw_status, repository};
use crate::api::{FirebenderMode, FirebenderSpec, ProviderKind, ProviderSpec};
use crate::domain::ids::{AccountFingerprint, InstallationId, SessionId};
use crate::domain::snapshot::{Links, RemotePhase, Snapshot};

/// `ListModels` is not among them: the documentation mentions such a list but neither its path nor its shape.
const CAPABILITIES: &[Capability] = &[
    Capability::Prompt,
    Capability::Images,
    Capability::Model,
    Capability::Repository,
    Capability::BranchName,
    Capability::AutoCreatePullRequest,
    Capability::Cancel,
    Capability::Webhooks,
    Capability::Result,
    Capability::Links,
];

/// No 409 of `POST /v0/agents` is documented.
const REFUSING_CONFLICTS: [&str; 0] = [];
const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// What is known of Firebender without talking to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Firebender;

impl ProviderType for Firebender {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Firebender
    }

    #[expect(
        clippy::expect_used,
        reason = "a constant that the registry's test parses"
    )]
    fn default_endpoint(&self, _: &ProviderSpec) -> Url {
        Url::parse("https://cloud.firebender.com").expect("a valid URL")
    }

    fn api_version(&self, _: &ProviderSpec) -> &'static str {
        "v0"
    }

    fn further_secret_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn settings(&self, _: &ProviderSpec) -> &'static [Capability] {
        CAPABILITIES
    }

    fn extensions(&self, _: &ProviderSpec) -> Vec<Capability> {
        FirebenderV0::EXTENSIONS.capabilities()
    }

    fn not_yet_used(&self, _: &ProviderSpec) -> BTreeSet<Capability> {
        BTreeSet::new()
    }

    /// Its documentation (October 2026) shows no request without `source.ref` and names no default.
    fn needs_reference(&self) -> bool {
        true
    }

    fn recovery(&self, _: &ProviderSpec) -> Recovery {
        Recovery::Marker
    }

    fn message_recovery(&self, _: &ProviderSpec) -> Option<MessageRecovery> {
        Some(MessageRecovery::Marker)
    }

    /// The request is documented, its deliveries are not: one with the header of Cursor's API, after which this one is made, is held to it;
    /// one without is believed for its address alone.
    fn deliveries(&self) -> Option<DeliveryFormat> {
        Some(DeliveryFormat {
            signature: Some("x-webhook-signature"),
            must_be_signed: false,
            id: Some("x-webhook-id"),
        })
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        let key = connection.credential.require(API_KEY)?;
        let api = connection.http.api(
            ProviderKind::Firebender,
            &connection.endpoint,
            &connection.credential,
            Auth::Header(API_KEY_HEADER, key),
        )?;
        Ok(Arc::new(FirebenderV0 {
            api,
            fingerprint: AccountFingerprint::of("firebender", &[connection.endpoint.as_str(), key]),
            settings: connection.spec.firebender.unwrap_or_default(),
        }))
    }
}

/// A connection to Firebender.
#[derive(Debug)]
struct FirebenderV0 {
    api: Api,
    fingerprint: AccountFingerprint,
    settings: FirebenderSpec,
}

impl FirebenderV0 {
    fn snapshot(&self, agent: Agent) -> Snapshot {
        let status = agent.status.unwrap_or_default();
        let target = agent.target;
        Snapshot {
            session_id: SessionId::new(agent.id.0),
            run_id: None,
            phase: phase_of(&status),
            raw_status: raw_status(&status),
            repository: repository(agent.source.and_then(AgentSource::repository)),
            url: target
                .as_ref()
                .and_then(|target| page_of(target.url.as_deref()?)),
            branch: branch(
                target
                    .as_ref()
                    .and_then(|target| target.branch_name.clone()),
            ),
            pull_request_url: link(target.and_then(|target| target.pr_url)),
            blocked: None,
            result: agent
                .summary
                .map(|summary| self.api.closing_words(&summary)),
            error: None,
            links: Links {
                recording: link_without_query(agent.recording_url),
                trace: link_without_query(agent.trace_url),
                preview: link_without_query(agent.vnc_url),
            },
            usage: None,
            duration: None,
            created_at: agent.created_at,
        }
    }

    fn create_agent<'a>(
        &self,
        request: &'a LaunchRequest,
    ) -> Result<wire::CreateAgent<'a>, ProviderError> {
        Ok(wire::CreateAgent {
            prompt: v0_agents::Prompt::new(&request.prompt, &request.images)?,
            source: v0_agents::Source {
                repository: &request.repository,
                reference: request.start.reference(),
            },
            model: v0_agents::chosen_model(request),
            // Defaults are left out: servers of 2025 know neither.
            mode: self
                .settings
                .mode
                .filter(|mode| *mode != FirebenderMode::default()),
            skip_gradle_sync: self.settings.skip_gradle_sync.unwrap_or_default(),
            target: wire::Target {
                auto_create_pr: request.pull_request.auto_create,
                branch_name: request.pull_request.branch_name.as_deref(),
            },
            webhook: v0_agents::Webhook::of(request),
        })
    }

    async fn create(&self, request: &LaunchRequest) -> Result<Launched, ProviderError> {
        let body = self.create_agent(request)?;
        let agent: Agent = v0_agents::launch(&self.api, request, &body).await?;
        Ok(v0_agents::launched(self.snapshot(agent)))
    }
}

#[async_trait]
impl PromptSource for FirebenderV0 {
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        _: Option<&str>,
    ) -> Result<Snapshots, ProviderError> {
        v0_agents::snapshots(&self.api, page, |agent| self.snapshot(agent)).await
    }

    async fn conversation(&self, session: &SessionId) -> Result<Conversation, ProviderError> {
        v0_agents::conversation(&self.api, session).await
    }
}

#[async_trait]
impl BaseProvider for FirebenderV0 {
    /// Firebender does not say whose a key is, so the key itself makes the fingerprint: a rotated key is another account.
    async fn verify(&self) -> Result<Account, ProviderError> {
        // Whatever else answers with a 200 at this address does not know the key.
        let path = ["v0", "agents"];
        self.api
            .check_list(&path, &[("limit", "1")], Some("agents"))
            .await?;
        Ok(Account {
            fingerprint: self.fingerprint.clone(),
            name: None,
            email: None,
        })
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        judge_launch(self.create(request).await, &REFUSING_CONFLICTS)
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        prompts::adopt(self, request).await
    }

    async fn shows_marker(
        &self,
        session: &SessionId,
        installation: &InstallationId,
        uid: &str,
    ) -> Result<Option<bool>, ProviderError> {
        prompts::shows_marker(self, session, installation, uid).await
    }

    /// A stopped agent is `FINISHED` like any other: only the caller knows whether it asked for the stop.
    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        let path = ["v0", "agents", session.session_id.as_str()];
        let agent = self.api.get(Operation::Get, &path, &[]).await?;
        Ok(self.snapshot(agent))
    }

    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        let path = ["v0", "agents", session.session_id.as_str(), "stop"];
        match self.api.post_empty(Operation::Cancel, &path).await {
            Ok(()) => Ok(CancelAnswer::Accepted),
            // Documented for CREATING, SETUP and RUNNING only; how a stop of anything else is refused is not.
            Err(error) if refuses_stop(&error) => {
                Ok(CancelAnswer::NotCancellable(Some(error.message)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Extended for FirebenderV0 {
    const EXTENSIONS: Extensions<Self> = Extensions {
        artifacts: Some(|it| it),
        follow_ups: Some(|it| it),
        listing: Some(|it| it),
        previewing: Some(|it| it),
        timeline: Some(|it| it),
        ..Extensions::NONE
    };
}

#[async_trait]
impl Artifacts for FirebenderV0 {
    async fn list(&self, sessions: &[SessionId]) -> Result<ArtifactList, ProviderError> {
        artifacts::list(&self.api, sessions).await
    }

    async fn locate(
        &self,
        sessions: &[SessionId],
        path: &str,
    ) -> Result<TemporaryUrl, ProviderError> {
        artifacts::locate(&self.api, sessions, path).await
    }
}

#[async_trait]
impl Previewing for FirebenderV0 {
    async fn preview(&self, session: &SessionId) -> Result<Option<Preview>, ProviderError> {
        artifacts::preview(&self.api, session).await
    }
}

#[async_trait]
impl Timeline for FirebenderV0 {
    async fn page(
        &self,
        request: &TimelineRequest,
        limit: usize,
    ) -> Result<TimelinePage, ProviderError> {
        v0_agents::timeline_page(&self.api, request, limit).await
    }
}

#[async_trait]
impl FollowUps for FirebenderV0 {
    /// An agent whose machine is gone is not woken: the answer (201) names another agent, which goes on in its place.
    async fn send(&self, request: &MessageRequest) -> MessageOutcome {
        let answer = v0_agents::follow_up(&self.api, request, RemotePhase::Creating).await;
        judge_launch(answer, &REFUSING_CONFLICTS)
    }

    /// It is in the conversation of its session, or the first prompt of an agent that goes on in its place.
    async fn find(
        &self,
        session: &SessionRef,
        lost: &AdoptRequest,
    ) -> Result<AdoptAnswer, ProviderError> {
        let own = prompts::find_message(self, session, lost).await?;
        match own {
            AdoptAnswer::Absent | AdoptAnswer::Inconclusive { .. } => {}
            found => return Ok(found),
        }
        let elsewhere = prompts::adopt(self, lost).await?;
        Ok(match elsewhere {
            AdoptAnswer::Absent => own,
            found => found,
        })
    }
}

#[async_trait]
impl Listing for FirebenderV0 {
    async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        Ok(told_by_list(self.snapshots(page, None).await?))
    }

    async fn marked(&self, request: &MarkedRequest) -> Result<MarkedPage, ProviderError> {
        prompts::marked(self, request).await
    }
}

fn phase_of(status: &str) -> RemotePhase {
    match status {
        "CREATING" | "SETUP" => RemotePhase::Creating,
        "RUNNING" => RemotePhase::Running,
        "FINISHED" => RemotePhase::Finished,
        "ERROR" => RemotePhase::Error,
        // In no document, but seen: stopped by a person at the provider.
        "STOPPED" | "CANCELLED" | "CANCELED" => RemotePhase::Cancelled,
        "EXPIRED" => RemotePhase::Expired,
        _ => RemotePhase::Unrecognised,
    }
}

/// The page of an agent. Servers of 2025 link to `firebender.com/agents?id=…`, newer ones to the emulator's live view, whose
/// query may let anyone in.
fn page_of(url: &str) -> Option<String> {
    let url = link(Some(url.to_owned()))?;
    let parsed = Url::parse(&url).ok()?;
    let id_alone =
        parsed.fragment().is_none() && parsed.query_pairs().all(|(name, _)| name == "id");
    if id_alone {
        Some(url)
    } else {
        link_without_query(Some(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_the_id_and_loses_every_token() {
        for (url, page) in [
            (
                "https://firebender.com/agents?id=fb_1",
                Some("https://firebender.com/agents?id=fb_1"),
            ),
            (
                "https://preview.daytona.app/vnc.html",
                Some("https://preview.daytona.app/vnc.html"),
            ),
            (
                "https://preview.daytona.app/vnc.html?token=t&id=1",
                Some("https://preview.daytona.app/vnc.html"),
            ),
            (
                "https://preview.daytona.app/vnc.html#token=t",
                Some("https://preview.daytona.app/vnc.html"),
            ),
            ("https://user:token@preview.daytona.app/", None),
        ] {
            assert_eq!(page_of(url).as_deref(), page, "{url}");
        }
    }
}
