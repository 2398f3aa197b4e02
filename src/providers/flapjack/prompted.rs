//! The prompts of a session. The list tells none, so that every candidate is looked at.

use async_trait::async_trait;

use super::wire::Session;
use super::{Flapjack, SESSIONS};
use crate::domain::ids::SessionId;
use crate::providers::contract::PageToken;
use crate::providers::error::ProviderError;
use crate::providers::http::Operation;
use crate::providers::recovery::marker::{Message, Speaker};
use crate::providers::recovery::prompts::{Conversation, PromptSource, Snapshots};
use crate::providers::wire::Items;

/// The "page" behind the only one that there is.
const ARCHIVED: &str = "archived";

#[async_trait]
impl PromptSource for Flapjack {
    /// The list has no pages. Whether it holds archived sessions when not asked about them is not documented, so they are
    /// asked for on a second one.
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        template: Option<&str>,
    ) -> Result<Snapshots, ProviderError> {
        let mut query = self.org_query();
        query.extend(template.map(|id| ("codeAgentId", id)));
        if page.is_some() {
            query.push(("archived", "true"));
        }
        let sessions: Items<Session> = self.api.get(Operation::List, &SESSIONS, &query).await?;
        Ok(Snapshots {
            unreadable: sessions.missing(),
            next: page.is_none().then(|| PageToken(ARCHIVED.to_owned())),
            readable: sessions
                .readable
                .into_iter()
                .map(|session| self.snapshot(session))
                .collect(),
        })
    }

    async fn conversation(&self, session: &SessionId) -> Result<Conversation, ProviderError> {
        let session = self.session(session).await?;
        // One that cannot be read may be the first prompt: then none is known.
        let messages = session
            .messages
            .iter()
            .filter(|messages| messages.unreadable == 0)
            .flat_map(|messages| &messages.readable);
        Ok(Conversation {
            messages: messages
                .map(|message| Message {
                    by: match message.role.as_deref() {
                        Some("user") | None => Speaker::User,
                        Some("assistant") => Speaker::Agent,
                        Some(_) => Speaker::Other,
                    },
                    text: message.prompt.clone(),
                })
                .collect(),
            snapshot: Some(self.snapshot(session)),
        })
    }
}
