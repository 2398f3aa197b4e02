//! Flapjack code agents: a service before Cursor's, with templates.
//!
//! Two keys: Flapjack's own and, in the body of a launch, the one of the Cursor account that pays. No id of ours and no
//! idempotency key: a lost launch is found by the marker in the first prompt ([`prompts`]).

mod prompted;
mod templates;
mod timeline;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use self::wire::{Archived, Message, Session, Started};
use super::contract::{
    API_KEY, Account, AdoptAnswer, AdoptRequest, Archiving, BaseProvider, CancelAnswer, Capability,
    Connection, DeliveryFormat, Extended, Extensions, FollowUps, ItemDetail, LaunchOutcome,
    LaunchRequest, Launched, ListItem, Listing, MarkedPage, MarkedRequest, MessageOutcome,
    MessageRecovery, MessageRequest, Messaged, PageToken, Provider, ProviderType, Recovery,
    SessionPage, SessionRef,
};
use super::credential::Credential;
use super::error::{ErrorClass, ProviderError, Subject};
use super::http::{Api, Auth, Operation, judge_launch, judge_message, refuses_stop};
use super::recovery::prompts;
use super::wire::{Items, branch, hint, link, raw_status, repository};
use crate::api::{ModelSpec, ProviderKind, ProviderSpec, PullRequestSpec};
use crate::domain::ids::{AccountFingerprint, InstallationId, RunId, SessionId};
use crate::domain::snapshot::{Links, RemotePhase, Snapshot};

const CAPABILITIES: &[Capability] = &[
    Capability::Prompt,
    Capability::Model,
    Capability::ModelParameters,
    Capability::Repository,
    Capability::WorkOnCurrentBranch,
    Capability::AutoCreatePullRequest,
    Capability::SkipReviewerRequest,
    Capability::Cancel,
    Capability::Webhooks,
    Capability::Result,
];

/// Codes of a 409 that say that a message was not taken. Neither is documented but in words.
const REFUSED_MESSAGES: [(&str, Subject); 2] = [
    ("SESSION_ACTIVE", Subject::Busy),
    ("SESSION_ARCHIVED", Subject::Archived),
];
/// The key of the Secret that holds the key of the Cursor account.
const CURSOR_API_KEY: &str = "cursor-api-key";
/// No 409 of `POST /api/code-sessions` is documented.
const REFUSING_CONFLICTS: [&str; 0] = [];
const SESSIONS: [&str; 2] = ["api", "code-sessions"];
/// Flapjack's word for a model that nobody chose.
const AUTO_MODEL: &str = "auto";
static NO_PARAMETERS: BTreeMap<String, String> = BTreeMap::new();

/// What is known of Flapjack without talking to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlapjackType;

impl ProviderType for FlapjackType {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Flapjack
    }

    #[expect(
        clippy::expect_used,
        reason = "a constant that the registry's test parses"
    )]
    fn default_endpoint(&self, _: &ProviderSpec) -> Url {
        Url::parse("https://api.flapjack.dev").expect("a valid URL")
    }

    /// Flapjack's paths carry no version.
    fn api_version(&self, _: &ProviderSpec) -> &'static str {
        "v1"
    }

    fn further_secret_keys(&self) -> &'static [&'static str] {
        &[CURSOR_API_KEY]
    }

    fn settings(&self, _: &ProviderSpec) -> &'static [Capability] {
        CAPABILITIES
    }

    fn extensions(&self, _: &ProviderSpec) -> Vec<Capability> {
        Flapjack::EXTENSIONS.capabilities()
    }

    fn not_yet_used(&self, _: &ProviderSpec) -> BTreeSet<Capability> {
        BTreeSet::new()
    }

    fn recovery(&self, _: &ProviderSpec) -> Recovery {
        Recovery::Marker
    }

    fn message_recovery(&self, _: &ProviderSpec) -> Option<MessageRecovery> {
        Some(MessageRecovery::Marker)
    }

    /// Nothing of a delivery is documented, and there is no secret: it is believed for its address alone.
    fn deliveries(&self) -> Option<DeliveryFormat> {
        Some(DeliveryFormat {
            signature: None,
            must_be_signed: false,
            id: None,
        })
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        let key = connection.credential.require(API_KEY)?;
        connection.credential.require(CURSOR_API_KEY)?;
        let api = connection.http.api(
            ProviderKind::Flapjack,
            &connection.endpoint,
            &connection.credential,
            Auth::Bearer(key),
        )?;
        let org_id = connection.spec.flapjack.and_then(|spec| spec.org_id);
        let whose = [
            connection.endpoint.as_str(),
            key,
            org_id.as_deref().unwrap_or_default(),
        ];
        Ok(Arc::new(Flapjack {
            fingerprint: AccountFingerprint::of("flapjack", &whose),
            api,
            credential: connection.credential,
            org_id,
        }))
    }
}

/// A connection to Flapjack.
#[derive(Debug)]
struct Flapjack {
    api: Api,
    fingerprint: AccountFingerprint,
    credential: Credential,
    org_id: Option<String>,
}

impl Flapjack {
    fn org_query(&self) -> Vec<(&'static str, &str)> {
        self.org_id
            .as_deref()
            .map(|id| ("orgId", id))
            .into_iter()
            .collect()
    }

    async fn session(&self, id: &SessionId) -> Result<Session, ProviderError> {
        let [api, sessions] = SESSIONS;
        self.api
            .get(Operation::Get, &[api, sessions, id.as_str()], &[])
            .await
    }

    fn start_session<'a>(
        &'a self,
        request: &'a LaunchRequest,
    ) -> Result<wire::StartSession<'a>, ProviderError> {
        // The same class as a template that Flapjack does not know: no fault of the session.
        let template = request.template_id.as_deref().ok_or_else(|| {
            ProviderError::unsent(
                ErrorClass::NotFound,
                "Flapjack launches sessions from a template only, and none is known",
            )
        })?;
        Ok(wire::StartSession {
            code_agent_id: template,
            prompt: &request.prompt,
            cursor_api_key: self.credential.require(CURSOR_API_KEY)?,
            org_id: self.org_id.as_deref(),
            repo_url: &request.repository,
            starting_ref: request.start.reference(),
            webhook_url: request.webhook.as_ref().map(|webhook| webhook.url.as_str()),
            behaviour: behaviour(&request.pull_request, request.model.as_ref()),
        })
    }

    fn snapshot(&self, session: Session) -> Snapshot {
        let status = session.status.unwrap_or_default();
        let phase = phase_of(&status);
        let newest = session
            .messages
            .unwrap_or_default()
            .readable
            .into_iter()
            .max_by_key(|message| message.created_at);
        let (run_id, result, duration, pr_url, error) =
            newest.map_or((None, None, None, None, None), |message: Message| {
                (
                    message.cursor_run_id,
                    message.result_text,
                    message.duration_ms,
                    message.pr_url,
                    message.error,
                )
            });
        Snapshot {
            phase,
            raw_status: raw_status(&status),
            session_id: session.id.into(),
            // It comes a moment after the session; nothing needs it, and alone it would be worth no write.
            run_id: session
                .latest_run_id
                .or(run_id)
                .filter(|_| phase != RemotePhase::Creating)
                .map(|id| RunId::new(id.0)),
            repository: repository(session.repo_url),
            // None is documented.
            url: None,
            branch: branch(session.pr_branch),
            pull_request_url: link(session.pr_url.or(pr_url)),
            blocked: None,
            result: result.map(|result| self.api.closing_words(&result)),
            error: session
                .error
                .or(error)
                .map(|error| self.api.message(&error)),
            links: Links::default(),
            usage: None,
            duration: duration.map(Duration::from_millis),
            created_at: session.created_at,
        }
    }
}

#[async_trait]
impl BaseProvider for Flapjack {
    /// Flapjack does not say whose a key is, so the key itself makes the fingerprint: a rotated key is another account.
    async fn verify(&self) -> Result<Account, ProviderError> {
        // Whatever else answers with a 200 at this address does not know the key.
        let path = ["api", "code-agents"];
        self.api.check_list(&path, &self.org_query(), None).await?;
        Ok(Account {
            fingerprint: self.fingerprint.clone(),
            name: None,
            email: None,
        })
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        let body = match self.start_session(request) {
            Ok(body) => body,
            Err(error) => return LaunchOutcome::Rejected(error),
        };
        // No error shows where the webhook is: who knows it may call it.
        let address = request.webhook.iter().map(|webhook| webhook.url.as_str());
        let answer = self
            .api
            .withholding(address)
            .launch(&SESSIONS, &body, request.window)
            .await
            .map(|started: Started| Launched {
                id_honoured: None,
                session_id: started.session_id.into(),
                run_id: None,
                url: None,
                // The answer has no status.
                phase: RemotePhase::Creating,
                raw_status: String::new(),
            });
        judge_launch(answer, &REFUSING_CONFLICTS)
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

    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        Ok(self.snapshot(self.session(&session.session_id).await?))
    }

    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        let [api, sessions] = SESSIONS;
        let path = [api, sessions, session.session_id.as_str(), "cancel"];
        match self.api.post_empty(Operation::Cancel, &path).await {
            Ok(()) => Ok(CancelAnswer::Accepted),
            Err(error) if error.code.as_deref() == Some("CANCEL_UNSUPPORTED") => {
                Ok(CancelAnswer::Unsupported)
            }
            // Only `creating` and `running` can be stopped: it has ended, or is `pending` still and can be stopped soon. How
            // that is said is not documented.
            Err(error) if refuses_stop(&error) => {
                Ok(CancelAnswer::NotCancellable(Some(error.message)))
            }
            // With 502 `cursor_cancel_failed`, which asks for another try.
            Err(error) => Err(error),
        }
    }
}

impl Extended for Flapjack {
    const EXTENSIONS: Extensions<Self> = Extensions {
        archiving: Some(|it| it),
        follow_ups: Some(|it| it),
        listing: Some(|it| it),
        templates: Some(|it| it),
        timeline: Some(|it| it),
        ..Extensions::NONE
    };
}

#[async_trait]
impl FollowUps for Flapjack {
    async fn send(&self, request: &MessageRequest) -> MessageOutcome {
        let id = &request.session.session_id;
        let [api, sessions] = SESSIONS;
        let path = [api, sessions, id.as_str(), "messages"];
        let body = wire::SendMessage {
            prompt: &request.prompt,
        };
        let answer = self
            .api
            .paid(Operation::Message, &path, &body, request.window)
            .await
            .map(|_: wire::SentMessage| Messaged {
                session_id: id.clone(),
                // It comes a moment later.
                run_id: None,
                phase: RemotePhase::Creating,
            });
        judge_message(answer, &REFUSED_MESSAGES)
    }

    async fn find(
        &self,
        session: &SessionRef,
        lost: &AdoptRequest,
    ) -> Result<AdoptAnswer, ProviderError> {
        prompts::find_message(self, session, lost).await
    }
}

#[async_trait]
impl Archiving for Flapjack {
    /// Flapjack forgets the Cursor key of the session with it. 409 `SESSION_ACTIVE`: something runs on it. 502 `archive_failed`: asks
    /// for another try.
    async fn archive(&self, session: &SessionId) -> Result<(), ProviderError> {
        let [api, sessions] = SESSIONS;
        let path = [api, sessions, session.as_str(), "archive"];
        let answer: Archived = self.api.post_for(Operation::Archive, &path).await?;
        match answer.archived {
            true => Ok(()),
            false => Err(ProviderError::unreadable(
                None,
                "the answer does not say that the session is archived",
            )),
        }
    }
}

#[async_trait]
impl Listing for Flapjack {
    /// The list has one page. Archived sessions are left out: they have ended long ago, and would fill it more and more.
    async fn list(&self, _: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        let mut query = self.org_query();
        query.push(("archived", "false"));
        let sessions: Items<Session> = self.api.get(Operation::List, &SESSIONS, &query).await?;
        Ok(SessionPage {
            next: None,
            items: sessions
                .readable
                .into_iter()
                .map(|session| {
                    let hint = moved(&session);
                    let snapshot = self.snapshot(session);
                    ListItem {
                        session_id: snapshot.session_id.clone(),
                        created_at: snapshot.created_at,
                        detail: match snapshot.phase {
                            RemotePhase::Creating | RemotePhase::Running => {
                                ItemDetail::Full(Box::new(snapshot))
                            }
                            RemotePhase::Finished
                            | RemotePhase::Error
                            | RemotePhase::Cancelled
                            | RemotePhase::Expired
                            | RemotePhase::Unrecognised => ItemDetail::Hint(hint),
                        },
                    }
                })
                .collect(),
        })
    }

    async fn marked(&self, request: &MarkedRequest) -> Result<MarkedPage, ProviderError> {
        prompts::marked(self, request).await
    }
}

/// Everything is said, also what is the default: a template may say otherwise, and people may change templates.
fn behaviour<'a>(policy: &PullRequestSpec, model: Option<&'a ModelSpec>) -> wire::Behaviour<'a> {
    wire::Behaviour {
        auto_create_pr: policy.auto_create,
        work_on_current_branch: policy.work_on_current_branch,
        skip_reviewer_request: policy.auto_create && policy.skip_reviewer_request,
        model_id: model.map_or(AUTO_MODEL, |model| &model.id),
        model_params: model.map_or(&NO_PARAMETERS, |model| &model.params),
    }
}

fn phase_of(status: &str) -> RemotePhase {
    match status {
        "pending" | "creating" => RemotePhase::Creating,
        "running" => RemotePhase::Running,
        "finished" => RemotePhase::Finished,
        "error" => RemotePhase::Error,
        "cancelled" => RemotePhase::Cancelled,
        "expired" => RemotePhase::Expired,
        _ => RemotePhase::Unrecognised,
    }
}

/// Differs once something about the session has moved.
fn moved(session: &Session) -> String {
    hint(&[
        session.status.as_deref(),
        session.latest_run_id.as_ref().map(|id| id.0.as_str()),
        session.completed_at.as_deref(),
        session.pr_url.as_deref(),
    ])
}
