//! The prompts of a session: what the user said in its conversation.

use async_trait::async_trait;

use super::FirebenderV0;
use super::wire::Conversation;
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::PageToken;
use crate::providers::error::ProviderError;
use crate::providers::http::Operation;
use crate::providers::prompts::{Prompted, Snapshots, Told};
use crate::providers::wire::next_page;

#[async_trait]
impl Prompted for FirebenderV0 {
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        _: Option<&str>,
    ) -> Result<Snapshots, ProviderError> {
        let list = self.page(page).await?;
        let readable = list.agents.readable.into_iter();
        Ok(Snapshots {
            unreadable: list.agents.unreadable,
            next: next_page(list.next_cursor)?,
            readable: readable.map(|agent| self.snapshot(agent)).collect(),
        })
    }

    async fn prompts(&self, listed: &Snapshot) -> Result<Told, ProviderError> {
        let path = ["v0", "agents", listed.session_id.as_str(), "conversation"];
        let conversation: Conversation = self.api.get(Operation::Conversation, &path, &[]).await?;
        let users = conversation
            .messages
            .into_iter()
            .filter(|message| message.kind.as_deref() == Some("user_message"));
        Ok(Told {
            prompts: users.map(|message| message.text).collect(),
            snapshot: listed.clone(),
        })
    }
}
