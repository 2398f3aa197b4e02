//! Finding an interrupted launch again by the marker in the first message of the user.

use async_trait::async_trait;

use super::FirebenderV0;
use super::wire::{Agent, Conversation};
use crate::domain::ids::SessionId;
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{AdoptAnswer, AdoptRequest, PageToken};
use crate::providers::error::ProviderError;
use crate::providers::evidence::judge_prompts;
use crate::providers::http::Operation;
use crate::providers::repository::same_repository;
use crate::providers::scan::{Candidate, Judge, Page, Verdict, scan};
use crate::providers::wire::next_page;

pub(super) async fn adopt(
    firebender: &FirebenderV0,
    request: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(
        &ByMarker {
            firebender,
            request,
        },
        request,
    )
    .await
}

struct ByMarker<'a> {
    firebender: &'a FirebenderV0,
    request: &'a AdoptRequest,
}

#[async_trait]
impl Judge for ByMarker<'_> {
    type Item = Snapshot;

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

    fn possible(&self, snapshot: &Snapshot) -> bool {
        // One whose repository the list leaves out may have any.
        snapshot
            .repository
            .as_deref()
            .is_none_or(|theirs| same_repository(&self.request.repository, theirs))
    }

    async fn judge(&self, candidate: &Candidate<Snapshot>) -> Result<Verdict, ProviderError> {
        let conversation = self.conversation(&candidate.id).await?;
        let prompts = conversation
            .messages
            .iter()
            .filter(|message| message.kind.as_deref() == Some("user_message"))
            .map(|message| message.text.as_deref());
        Ok(judge_prompts(prompts, self.request, candidate.item.clone()))
    }
}

impl ByMarker<'_> {
    async fn conversation(&self, id: &SessionId) -> Result<Conversation, ProviderError> {
        let path = ["v0", "agents", id.as_str(), "conversation"];
        self.firebender
            .api
            .get(Operation::Conversation, &path, &[])
            .await
    }
}
