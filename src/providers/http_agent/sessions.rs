//! What goes into a request, and what a session's answer says.

use async_trait::async_trait;
use serde_json::Value;

use super::connection::{HttpAgent, not_understood, of_session};
use crate::api::AUTO_MODEL;
use crate::domain::ids::SessionId;
use crate::domain::mapping::{List, Name, NotUnderstood, Place, Reading, Values, items};
use crate::domain::pull_request::PullRequestUrl;
use crate::domain::snapshot::{Links, RemotePhase, Snapshot, Usage};
use crate::providers::contract::{LaunchRequest, Launched, PageToken};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::Operation;
use crate::providers::recovery::marker::{Message, Speaker};
use crate::providers::recovery::prompts::{Conversation, PromptSource, Snapshots};
use crate::providers::wire::{WireId, branch, link, next_page, raw_status, repository};

/// What the names of a launch stand for. The capabilities have been checked: what is set has a place.
pub(super) fn values_of(request: &LaunchRequest) -> Values {
    let start = &request.start;
    let model = request.model.as_ref().map(|model| model.id.as_str());
    let texts = [
        (Name::Key, Some(request.key.as_uuid())),
        (Name::Name, Some(request.name.as_str())),
        (Name::Prompt, Some(request.prompt.as_str())),
        (
            Name::Repository,
            Some(request.repository.as_str()).filter(|url| !url.is_empty()),
        ),
        (Name::Ref, start.reference()),
        (
            Name::PullRequestUrl,
            start.pull_request().map(PullRequestUrl::as_str),
        ),
        // "auto" is the absence of a choice.
        (Name::Model, model.filter(|model| *model != AUTO_MODEL)),
        (
            Name::BranchName,
            request.pull_request.branch_name.as_deref(),
        ),
    ];
    let texts = texts.into_iter();
    let mut values: Values = texts
        .filter_map(|(name, text)| Some((name, text?.into())))
        .collect();
    let opens = request.pull_request.auto_create;
    values.insert(Name::AutoCreatePullRequest, opens.into());
    values
}

/// What the session that a launch is answered with says; `ours` is the id that we chose.
pub(super) fn launched(snapshot: Snapshot, ours: Option<&str>) -> Launched {
    Launched {
        id_honoured: ours.map(|ours| snapshot.session_id.as_str() == ours),
        session_id: snapshot.session_id,
        run_id: None,
        url: snapshot.url,
        phase: snapshot.phase,
        raw_status: snapshot.raw_status,
    }
}

impl HttpAgent {
    /// The session that stands at `place` of an answer, and whether it takes no message now.
    pub(super) fn snapshot(
        &self,
        place: &Place,
        field: &str,
        answer: &Value,
    ) -> Result<(Snapshot, bool), ProviderError> {
        let session = place.find(answer).ok_or_else(|| {
            let why = format!("nothing stands at {}", place.dotted());
            not_understood(NotUnderstood::new(field, why))
        })?;
        self.read_session(session)
    }

    /// What a session says, as it may be kept.
    pub(super) fn read_session(&self, session: &Value) -> Result<(Snapshot, bool), ProviderError> {
        let reading = self.mapping.session.read(session).map_err(not_understood)?;
        let busy = reading.busy;
        Ok((self.kept(reading)?, busy))
    }

    fn kept(&self, reading: Reading) -> Result<Snapshot, ProviderError> {
        let id = WireId::within(&reading.id).ok_or_else(|| {
            let why = "what stands there is no id: at most 256 letters, digits, - _ . : and ~";
            not_understood(NotUnderstood::new("session.id", why))
        })?;
        let cost = (
            reading.input_tokens,
            reading.output_tokens,
            reading.cost_cents,
        );
        Ok(Snapshot {
            session_id: SessionId::from(id),
            run_id: None,
            phase: reading.phase,
            raw_status: raw_status(&reading.raw_status),
            repository: repository(reading.repository),
            url: link(reading.url),
            branch: branch(reading.branch),
            pull_request_url: link(reading.pull_request),
            blocked: reading
                .blocked
                .filter(|_| reading.phase == RemotePhase::Running)
                .map(|why| self.api.message(&why)),
            result: reading.result.map(|words| self.api.closing_words(&words)),
            error: reading.error.map(|why| self.api.message(&why)),
            links: Links::default(),
            usage: (cost != (None, None, None)).then(|| Usage {
                input_tokens: reading.input_tokens.unwrap_or_default(),
                output_tokens: reading.output_tokens.unwrap_or_default(),
                cost_cents: reading.cost_cents,
            }),
            duration: None,
            created_at: reading.created_at,
        })
    }

    /// One page of the list, and the token of the next one.
    pub(super) async fn page(
        &self,
        list: &List,
        page: Option<&PageToken>,
    ) -> Result<(Value, Option<PageToken>), ProviderError> {
        let token = page.map(|page| (Name::Page, page.0.as_str().into()));
        let values: Values = token.into_iter().collect();
        let answer = self.read(Operation::List, &list.call, &values).await?;
        let next = match list.token(&answer) {
            None => None,
            Some(Value::String(token)) => Some(token.clone()),
            Some(Value::Number(token)) => Some(token.to_string()),
            // There is no more to come.
            Some(Value::Bool(false)) => None,
            Some(_) => {
                let why = "what stands there is no token of a page";
                return Err(not_understood(NotUnderstood::new("list.next", why)));
            }
        };
        Ok((answer, next_page(next)?))
    }
}

#[async_trait]
impl PromptSource for HttpAgent {
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        _: Option<&str>,
    ) -> Result<Snapshots, ProviderError> {
        let Some(list) = &self.mapping.list else {
            let why = "the mapping has no list";
            return Err(ProviderError::unsent(ErrorClass::InvalidRequest, why));
        };
        let (answer, next) = self.page(list, page).await?;
        let items = items("list.items", &list.items, &answer).map_err(not_understood)?;
        let readable: Vec<Snapshot> = items
            .iter()
            .filter_map(|item| Some(self.read_session(item).ok()?.0))
            .collect();
        Ok(Snapshots {
            unreadable: items.len() - readable.len(),
            readable,
            next,
        })
    }

    async fn conversation(&self, session: &SessionId) -> Result<Conversation, ProviderError> {
        let Some(told) = &self.mapping.conversation else {
            let why = "the mapping has no conversation";
            return Err(ProviderError::unsent(ErrorClass::InvalidRequest, why));
        };
        let values = of_session(session);
        let answer = self
            .read(Operation::Conversation, &told.call, &values)
            .await?;
        let items = items("conversation.items", &told.items, &answer).map_err(not_understood)?;
        let messages = items.iter().map(|item| {
            let by = told.by.find(item).and_then(Value::as_str);
            Message {
                by: match by {
                    Some(by) if by == told.user => Speaker::User,
                    Some(by) if by == told.agent => Speaker::Agent,
                    Some(_) | None => Speaker::Other,
                },
                text: told
                    .text
                    .find(item)
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            }
        });
        Ok(Conversation {
            messages: messages.collect(),
            snapshot: None,
        })
    }
}
