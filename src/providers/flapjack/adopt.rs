//! Finding an interrupted launch again by the marker in the first prompt. The list tells no prompts, so that every candidate
//! is looked at.

use async_trait::async_trait;

use super::wire::Session;
use super::{Flapjack, SESSIONS};
use crate::providers::contract::{AdoptAnswer, AdoptRequest, PageToken};
use crate::providers::error::ProviderError;
use crate::providers::evidence::judge_prompts;
use crate::providers::http::Operation;
use crate::providers::repository::same_repository;
use crate::providers::scan::{Candidate, Judge, Page, Verdict, scan};
use crate::providers::wire::Items;

/// The "page" behind the only one that there is.
const ARCHIVED: &str = "archived";

pub(super) async fn adopt(
    flapjack: &Flapjack,
    request: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(&ByMarker { flapjack, request }, request).await
}

struct ByMarker<'a> {
    flapjack: &'a Flapjack,
    request: &'a AdoptRequest,
}

#[async_trait]
impl Judge for ByMarker<'_> {
    type Item = Session;

    /// The list has no pages. Whether it holds archived sessions when not asked about them is not documented, so they are
    /// asked for on a second one.
    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Session>, ProviderError> {
        let mut query = self.flapjack.org_query();
        let template = self.request.template_id.as_deref();
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
                .map(|session| Candidate {
                    id: session.id.clone().into(),
                    created_at: session.created_at,
                    item: session,
                })
                .collect(),
        })
    }

    fn possible(&self, session: &Session) -> bool {
        // One whose repository the list leaves out may have any.
        session
            .repo_url
            .as_deref()
            .is_none_or(|theirs| same_repository(&self.request.repository, theirs))
    }

    async fn judge(&self, candidate: &Candidate<Session>) -> Result<Verdict, ProviderError> {
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
            self.request,
            self.flapjack.snapshot(session),
        ))
    }
}
