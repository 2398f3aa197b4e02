//! Finding interrupted launches, and all of this installation's, by the marker in the first message of the user.

use async_trait::async_trait;

use super::FirebenderV0;
use super::wire::{Agent, Conversation};
use crate::domain::ids::SessionId;
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{AdoptAnswer, AdoptRequest, MarkedPage, MarkedRequest, PageToken};
use crate::providers::error::ProviderError;
use crate::providers::evidence::{PromptQuest, judge_prompts};
use crate::providers::http::Operation;
use crate::providers::scan::{Candidate, Judge, Page, Verdict, scan, search};
use crate::providers::wire::next_page;

pub(super) async fn adopt(
    firebender: &FirebenderV0,
    quest: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(&ByMarker { firebender, quest }).await
}

pub(super) async fn marked(
    firebender: &FirebenderV0,
    quest: &MarkedRequest,
) -> Result<MarkedPage, ProviderError> {
    search(&ByMarker { firebender, quest }).await
}

struct ByMarker<'a, Q> {
    firebender: &'a FirebenderV0,
    quest: &'a Q,
}

#[async_trait]
impl<Q: PromptQuest> Judge for ByMarker<'_, Q> {
    type Item = Snapshot;
    type Quest = Q;

    fn quest(&self) -> &Q {
        self.quest
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Snapshot>, ProviderError> {
        let list = self.firebender.page(page).await?;
        Ok(Page {
            unreadable: list.agents.unreadable,
            next: next_page(list.next_cursor)?,
            candidates: list
                .agents
                .readable
                .into_iter()
                .map(|agent: Agent| self.firebender.snapshot(agent))
                .map(|snapshot| Candidate {
                    id: snapshot.session_id.clone(),
                    created_at: snapshot.created_at,
                    item: snapshot,
                })
                .collect(),
        })
    }

    fn possible(&self, candidate: &Candidate<Snapshot>) -> bool {
        self.quest.possible(&candidate.item)
    }

    async fn judge(
        &self,
        candidate: &Candidate<Snapshot>,
    ) -> Result<Verdict<Q::Found>, ProviderError> {
        let conversation = self.conversation(&candidate.id).await?;
        let prompts = conversation
            .messages
            .iter()
            .filter(|message| message.kind.as_deref() == Some("user_message"))
            .map(|message| message.text.as_deref());
        Ok(judge_prompts(prompts, self.quest, candidate.item.clone()))
    }
}

impl<Q: PromptQuest> ByMarker<'_, Q> {
    async fn conversation(&self, id: &SessionId) -> Result<Conversation, ProviderError> {
        let path = ["v0", "agents", id.as_str(), "conversation"];
        self.firebender
            .api
            .get(Operation::Conversation, &path, &[])
            .await
    }
}
