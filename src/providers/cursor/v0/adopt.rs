//! Finding an interrupted launch again by the marker in the first message of the user.

use async_trait::async_trait;

use super::CursorV0;
use super::wire::Conversation;
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
    cursor: &CursorV0,
    request: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(&ByMarker { cursor, request }, request).await
}

struct ByMarker<'a> {
    cursor: &'a CursorV0,
    request: &'a AdoptRequest,
}

#[async_trait]
impl Judge for ByMarker<'_> {
    type Item = Snapshot;

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Snapshot>, ProviderError> {
        let list = self.cursor.page(page).await?;
        Ok(Page {
            unreadable: list.agents.unreadable,
            next: next_page(list.next_cursor)?,
            candidates: list
                .agents
                .readable
                .into_iter()
                .map(|agent| self.cursor.snapshot(agent))
                .map(|snapshot| Candidate {
                    id: snapshot.session_id.clone(),
                    created_at: snapshot.created_at,
                    item: snapshot,
                })
                .collect(),
        })
    }

    fn possible(&self, snapshot: &Snapshot) -> bool {
        // The list may leave the repository out; then it may be any.
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
        self.cursor
            .api
            .get(Operation::Conversation, &path, &[])
            .await
    }
}
