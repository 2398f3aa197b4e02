//! Finding interrupted launches, and all of this installation's, where the first prompt of a session can be read again.

use async_trait::async_trait;

use super::contract::{AdoptAnswer, AdoptRequest, MarkedPage, MarkedRequest, PageToken};
use super::error::ProviderError;
use super::evidence::{PromptQuest, judge_prompts};
use super::scan::{Candidate, Judge, Page, Verdict, scan, search};
use crate::domain::snapshot::Snapshot;

/// A provider that tells the prompts of its sessions.
#[async_trait]
pub(super) trait Prompted: Sync {
    /// One page of the account's sessions, of those that were launched from `template` where the list can be asked so.
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        template: Option<&str>,
    ) -> Result<Snapshots, ProviderError>;

    /// One look at a session that was listed as `listed`.
    async fn prompts(&self, listed: &Snapshot) -> Result<Told, ProviderError>;
}

/// One page of a list.
pub(super) struct Snapshots {
    /// The sessions, in the provider's order.
    pub readable: Vec<Snapshot>,
    /// How many items of the page cannot be read.
    pub unreadable: usize,
    /// The next page; `None` at the end.
    pub next: Option<PageToken>,
}

/// What a session was told.
pub(super) struct Told {
    /// By people, in the order in which the provider tells it; `None` is one that cannot be read.
    pub prompts: Vec<Option<String>>,
    /// The session, as new as this look.
    pub snapshot: Snapshot,
}

/// What [`Provider::adopt`](super::contract::Provider::adopt) owes.
pub(super) async fn adopt(
    provider: &impl Prompted,
    quest: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(&ByMarker { provider, quest }).await
}

/// What [`Provider::marked`](super::contract::Provider::marked) owes.
pub(super) async fn marked(
    provider: &impl Prompted,
    quest: &MarkedRequest,
) -> Result<MarkedPage, ProviderError> {
    search(&ByMarker { provider, quest }).await
}

struct ByMarker<'a, P, Q> {
    provider: &'a P,
    quest: &'a Q,
}

#[async_trait]
impl<P: Prompted, Q: PromptQuest> Judge for ByMarker<'_, P, Q> {
    type Item = Snapshot;
    type Quest = Q;

    fn quest(&self) -> &Q {
        self.quest
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Snapshot>, ProviderError> {
        let list = self
            .provider
            .snapshots(page, self.quest.template_id())
            .await?;
        let candidates = list.readable.into_iter().map(|snapshot| Candidate {
            id: snapshot.session_id.clone(),
            created_at: snapshot.created_at,
            item: snapshot,
        });
        Ok(Page {
            unreadable: list.unreadable,
            next: list.next,
            candidates: candidates.collect(),
        })
    }

    fn possible(&self, candidate: &Candidate<Snapshot>) -> bool {
        self.quest.possible(&candidate.item)
    }

    async fn judge(
        &self,
        candidate: &Candidate<Snapshot>,
    ) -> Result<Verdict<Q::Found>, ProviderError> {
        let told = self.provider.prompts(&candidate.item).await?;
        let prompts = told.prompts.iter().map(Option::as_deref);
        Ok(judge_prompts(prompts, self.quest, told.snapshot))
    }
}
