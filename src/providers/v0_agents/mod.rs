//! What Cursor's API v0 and Firebender's, which is made after it, have in common: the parts of an agent, lists, conversations and timelines.

mod message;
mod timeline;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::message::Message;
pub(super) use self::timeline::page as timeline_page;
use crate::api::AUTO_MODEL;
use crate::domain::ids::SessionId;
use crate::domain::image::Image;
use crate::domain::pull_request::PullRequestUrl;
use crate::domain::snapshot::{RemotePhase, Snapshot};
use crate::providers::contract::{
    ItemDetail, LaunchRequest, Launched, ListItem, MessageRequest, Messaged, PageToken, SessionPage,
};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Operation};
use crate::providers::recovery::marker::{Message as Said, Speaker};
use crate::providers::recovery::prompts::{Conversation as Told, Snapshots};
use crate::providers::wire::{Base64, Dimension, Items, WireId, lenient, next_page};

const PAGE_SIZE: &str = "100";

/// A message: text and images.
#[derive(Debug, Serialize)]
pub(super) struct Prompt<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<PromptImage<'a>>,
}

#[derive(Debug, Serialize)]
struct PromptImage<'a> {
    data: Base64<'a>,
    dimension: Dimension,
}

impl<'a> Prompt<'a> {
    /// What is sent.
    ///
    /// # Errors
    /// If an image is given by its URL: both providers document the content alone.
    pub(super) fn new(text: &'a str, images: &'a [Image]) -> Result<Self, ProviderError> {
        let images = images.iter().map(|image| match image {
            Image::Data(data) => Ok(PromptImage {
                data: Base64(data.content()),
                dimension: Dimension::of(data),
            }),
            Image::Url(_) => Err(ProviderError::unsent(
                ErrorClass::InvalidRequest,
                "the provider does not read images from a URL",
            )),
        });
        Ok(Self {
            text,
            images: images.collect::<Result<_, _>>()?,
        })
    }
}

/// Where an agent starts.
#[derive(Debug, Serialize)]
pub(super) struct Source<'a> {
    pub(super) repository: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<&'a str>,
}

/// Where an agent started. That `repository` is there beside `prUrl`, or `prUrl` at all, is not documented.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentSource {
    #[serde(default, deserialize_with = "lenient")]
    repository: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pr_url: Option<String>,
}

impl AgentSource {
    /// The repository that it works on.
    pub(super) fn repository(self) -> Option<String> {
        let of_pull_request = || {
            let url = PullRequestUrl::parse(self.pr_url.as_deref()?)?;
            Some(url.repository().to_owned())
        };
        self.repository.or_else(of_pull_request)
    }
}

/// Where an agent's work goes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentTarget {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) branch_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pr_url: Option<String>,
}

/// Where an agent reports changes.
#[derive(Serialize)]
pub(super) struct Webhook<'a> {
    url: &'a str,
    secret: &'a str,
}

impl<'a> Webhook<'a> {
    /// That of a launch.
    pub(super) fn of(request: &'a LaunchRequest) -> Option<Self> {
        let webhook = request.webhook.as_ref()?;
        Some(Self {
            url: &webhook.url,
            secret: &webhook.secret,
        })
    }
}

impl fmt::Debug for Webhook<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook(withheld)")
    }
}

/// Sends a launch. No error shows where its webhook is or what signs it.
pub(super) async fn launch<B: Serialize, A: DeserializeOwned>(
    api: &Api,
    request: &LaunchRequest,
    body: &B,
) -> Result<A, ProviderError> {
    let path = ["v0", "agents"];
    match &request.webhook {
        Some(webhook) => {
            let secrets = [webhook.secret.as_str(), webhook.url.as_str()];
            let api = api.withholding(secrets.into_iter());
            api.launch(&path, body, request.window).await
        }
        None => api.launch(&path, body, request.window).await,
    }
}

/// The model to ask for. "auto" is the absence of a choice: the provider then takes the user's, the team's or its own default.
pub(super) fn chosen_model(request: &LaunchRequest) -> Option<&str> {
    let model = request.model.as_ref()?;
    (model.id != AUTO_MODEL).then_some(model.id.as_str())
}

/// What the agent that a launch is answered with says. Neither provider takes an id of ours or has runs.
pub(super) fn launched(agent: Snapshot) -> Launched {
    Launched {
        id_honoured: None,
        session_id: agent.session_id,
        run_id: None,
        url: agent.url,
        phase: agent.phase,
        raw_status: agent.raw_status,
    }
}

/// `GET /v0/agents`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "A: DeserializeOwned")]
pub(super) struct AgentList<A> {
    agents: Items<A>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// `GET /v0/agents/{id}/conversation`, in chronological order.
#[derive(Debug, Deserialize)]
struct Conversation {
    messages: Items<Message>,
}

/// `POST /v0/agents/{id}/followup`.
#[derive(Debug, Serialize)]
struct FollowUp<'a> {
    prompt: Prompt<'a>,
}

/// The answer to it: the agent that works on it.
#[derive(Debug, Deserialize)]
struct FollowedUp {
    id: WireId,
}

/// Sends a follow-up message; `continued` is where another agent than the one that it was sent to stands at first.
pub(super) async fn follow_up(
    api: &Api,
    request: &MessageRequest,
    continued: RemotePhase,
) -> Result<Messaged, ProviderError> {
    let id = request.session.session_id.as_str();
    let body = FollowUp {
        prompt: Prompt::new(&request.prompt, &request.images)?,
    };
    let path = ["v0", "agents", id, "followup"];
    let answer: FollowedUp = api
        .paid(Operation::Message, &path, &body, request.window)
        .await?;
    Ok(Messaged {
        phase: if answer.id.0 == id {
            RemotePhase::Running
        } else {
            continued
        },
        session_id: SessionId::new(answer.id.0),
        run_id: None,
    })
}

/// One page of the list, each agent as `read` makes it.
pub(super) async fn snapshots<A: DeserializeOwned>(
    api: &Api,
    page: Option<&PageToken>,
    read: impl Fn(A) -> Snapshot,
) -> Result<Snapshots, ProviderError> {
    let mut query = vec![("limit", PAGE_SIZE)];
    query.extend(page.map(|token| ("cursor", token.0.as_str())));
    let list: AgentList<A> = api.get(Operation::List, &["v0", "agents"], &query).await?;
    Ok(Snapshots {
        unreadable: list.agents.missing(),
        next: next_page(list.next_cursor)?,
        readable: list.agents.readable.into_iter().map(read).collect(),
    })
}

/// What a list that tells all of a session says.
pub(super) fn told_by_list(list: Snapshots) -> SessionPage {
    let items = list.readable.into_iter().map(|snapshot| ListItem {
        session_id: snapshot.session_id.clone(),
        created_at: snapshot.created_at,
        detail: ItemDetail::Full(Box::new(snapshot)),
    });
    SessionPage {
        items: items.collect(),
        next: list.next,
    }
}

/// What was said in a session.
pub(super) async fn conversation(api: &Api, session: &SessionId) -> Result<Told, ProviderError> {
    let path = ["v0", "agents", session.as_str(), "conversation"];
    let conversation: Conversation = api.get(Operation::Conversation, &path, &[]).await?;
    // One that cannot be read may be the first prompt. Those behind the bound are not: the first stands before them.
    if conversation.messages.unreadable > 0 {
        return Err(ProviderError::unreadable(
            None,
            format!(
                "{} messages cannot be read",
                conversation.messages.unreadable
            ),
        ));
    }
    let messages = conversation.messages.readable.into_iter();
    Ok(Told {
        messages: messages
            .map(|message| Said {
                by: match message.kind.as_deref() {
                    Some("user_message") => Speaker::User,
                    Some("assistant_message") => Speaker::Agent,
                    _ => Speaker::Other,
                },
                text: message.text,
            })
            .collect(),
        snapshot: None,
    })
}
