//! Finding interrupted launches, and all of this installation's, by the marker in the first prompt. The list tells no
//! prompts, so that every candidate is looked at.

use async_trait::async_trait;

use super::wire::Session;
use super::{Flapjack, SESSIONS};
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{AdoptAnswer, AdoptRequest, MarkedPage, MarkedRequest, PageToken};
use crate::providers::error::ProviderError;
use crate::providers::evidence::{PromptQuest, judge_prompts};
use crate::providers::http::Operation;
use crate::providers::scan::{Candidate, Judge, Page, Verdict, scan, search};
use crate::providers::wire::Items;

/// The "page" behind the only one that there is.
const ARCHIVED: &str = "archived";

pub(super) async fn adopt(
    flapjack: &Flapjack,
    quest: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(&ByMarker { flapjack, quest }).await
}

pub(super) async fn marked(
    flapjack: &Flapjack,
    quest: &MarkedRequest,
) -> Result<MarkedPage, ProviderError> {
    search(&ByMarker { flapjack, quest }).await
}

struct ByMarker<'a, Q> {
    flapjack: &'a Flapjack,
    quest: &'a Q,
}

#[async_trait]
impl<Q: PromptQuest> Judge for ByMarker<'_, Q> {
    type Item = Snapshot;
    type Quest = Q;

    fn quest(&self) -> &Q {
        self.quest
    }

    /// The list has no pages. Whether it holds archived sessions when not asked about them is not documented, so they are
    /// asked for on a second one.
    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Snapshot>, ProviderError> {
        let mut query = self.flapjack.org_query();
        let template = self.quest.template_id();
        query.extend(template.map(|id| ("codeAgentId", id)));
        if page.is_some() {
            query.push(("archived", "true"));
        }
        let sessions: Items<Session> = self
            .flapjack
            .api
            .get(Operation::List, &SESSIONS, &query)
            .await?;
        Ok(Page {
            unreadable: sessions.unreadable,
            next: page.is_none().then(|| PageToken(ARCHIVED.to_owned())),
            candidates: sessions
                .readable
                .into_iter()
                .map(|session| self.flapjack.snapshot(session))
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
        let session = self.flapjack.session(&candidate.id).await?;
        let prompts: Vec<Option<String>> = session
            .messages
            .iter()
            .flatten()
            .filter(|message| message.role.as_deref().is_none_or(|role| role == "user"))
            .map(|message| message.prompt.clone())
            .collect();
        Ok(judge_prompts(
            prompts.iter().map(Option::as_deref),
            self.quest,
            self.flapjack.snapshot(session),
        ))
    }
}
