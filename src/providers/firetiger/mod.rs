//! Firetiger coding agents: Firetiger hands an issue to an external agent and passes on how it fares.
//!
//! Sessions are neither stored nor listed there, and nothing of ours goes along: whether a lost launch happened can be
//! guessed from the issue's links ([`links`]) but never be ruled out.

mod coding_agent;
mod links;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use self::coding_agent::Firetiger;
use self::wire::Answer;
use super::contract::{
    Account, AdoptAnswer, AdoptRequest, BaseProvider, CancelAnswer, Capability, Connection,
    Extended, Extensions, LaunchOutcome, LaunchRequest, Launched, Provider, ProviderType, Recovery,
    SessionRef,
};
use super::error::{ErrorClass, ProviderError};
use super::http::{Auth, judge_launch};
use crate::api::{ProviderKind, ProviderSpec};
use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::snapshot::Snapshot;

/// What the external agent can do beyond this cannot be asked for through Firetiger.
const CAPABILITIES: &[Capability] = &[Capability::Issue, Capability::OnBehalfOf];

/// The keys of the Secret.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
/// No 409 of a launch is documented.
const REFUSING_CONFLICTS: [&str; 0] = [];

/// What is known of Firetiger without talking to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FiretigerType;

impl ProviderType for FiretigerType {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Firetiger
    }

    #[expect(
        clippy::expect_used,
        reason = "a constant that the registry's test parses"
    )]
    fn default_endpoint(&self, _: &ProviderSpec) -> Url {
        Url::parse("https://api.cloud.firetiger.com").expect("a valid URL")
    }

    fn api_version(&self, _: &ProviderSpec) -> &'static str {
        "v1"
    }

    fn further_secret_keys(&self) -> &'static [&'static str] {
        &[USERNAME, PASSWORD]
    }

    fn settings(&self, _: &ProviderSpec) -> &'static [Capability] {
        CAPABILITIES
    }

    fn extensions(&self, _: &ProviderSpec) -> Vec<Capability> {
        Firetiger::EXTENSIONS.capabilities()
    }

    /// Launching and looking is all that there is.
    fn not_yet_used(&self, _: &ProviderSpec) -> BTreeSet<Capability> {
        BTreeSet::new()
    }

    fn recovery(&self, _: &ProviderSpec) -> Recovery {
        Recovery::None
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        let user = connection.credential.require(USERNAME)?;
        let password = connection.credential.require(PASSWORD)?;
        let api = connection.http.api(
            ProviderKind::Firetiger,
            &connection.endpoint,
            &connection.credential,
            Auth::Basic { user, password },
        )?;
        let agent_id = connection
            .spec
            .firetiger
            .map(|spec| spec.coding_agent_id)
            .ok_or_else(|| {
                ProviderError::unsent(
                    ErrorClass::InvalidRequest,
                    "no coding agent of Firetiger is named",
                )
            })?;
        let whose = [connection.endpoint.as_str(), user, agent_id.as_str()];
        Ok(Arc::new(Firetiger {
            fingerprint: AccountFingerprint::of("firetiger", &whose),
            api,
            agent_id,
        }))
    }
}

#[async_trait]
impl BaseProvider for Firetiger {
    /// The account is a user and one coding agent: sessions of another agent are as unknown to it as those of another user.
    async fn verify(&self) -> Result<Account, ProviderError> {
        let agent = self.coding_agent().await?;
        Ok(Account {
            fingerprint: self.fingerprint.clone(),
            name: agent.display_name.map(|name| self.api.message(&name)),
            email: None,
        })
    }

    async fn baseline(&self, issue: Option<&str>) -> Result<Option<String>, ProviderError> {
        match issue {
            Some(issue) => links::baseline(self, issue).await,
            None => Ok(None),
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        let Some(issue) = request.issue.as_deref() else {
            return LaunchOutcome::Rejected(ProviderError::unsent(
                ErrorClass::InvalidRequest,
                "Firetiger launches sessions on an issue only",
            ));
        };
        let body = wire::LaunchSession {
            issue,
            actor_email: request.on_behalf_of.as_deref(),
        };
        let path = ["v1", "coding-agents", &self.agent_id, "sessions:launch"];
        let answer: Result<Answer, _> = self.api.launch(&path, &body, request.window).await;
        let launched = answer.and_then(|answer| {
            let session = answer.into_session();
            let id = session.id().ok_or_else(|| {
                ProviderError::unreadable(None, "the answer to the launch has no id of a session")
            })?;
            let snapshot = self.snapshot(session, &SessionId::from(id));
            Ok(Launched {
                id_honoured: None,
                session_id: snapshot.session_id,
                run_id: None,
                url: snapshot.url,
                phase: snapshot.phase,
                raw_status: snapshot.raw_status,
            })
        });
        let launched = match launched {
            Err(error) if error.class == ErrorClass::NotFound => {
                Err(self.what_is_missing(error, issue).await)
            }
            known => known,
        };
        judge_launch(launched, &REFUSING_CONFLICTS)
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        links::adopt(self, request).await
    }

    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        self.session(session).await
    }

    async fn cancel(&self, _: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        Ok(CancelAnswer::Unsupported)
    }
}

impl Extended for Firetiger {
    const EXTENSIONS: Extensions<Self> = Extensions::NONE;
}
