//! Finding interrupted launches, and all of this installation's, where the first prompt of a session can be read again.

use async_trait::async_trait;

use super::marker::{Message, PromptQuery, Shown, judge, shown, shows};
use super::scan::{Candidate, Evidence, Matcher, Page, Reach, scan, search};
use super::similarity::SentText;
use crate::domain::ids::{InstallationId, SessionId};
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{
    AdoptAnswer, AdoptRequest, Found, MarkedPage, MarkedRequest, PageToken, Provider, SessionRef,
};
use crate::providers::error::{ErrorClass, ProviderError};

/// A provider that tells the prompts of its sessions.
#[async_trait]
pub(in crate::providers) trait PromptSource: Sync {
    /// One page of the account's sessions, of those that were launched from `template` where the list can be asked so.
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        template: Option<&str>,
    ) -> Result<Snapshots, ProviderError>;

    /// The conversation of a session.
    async fn conversation(&self, session: &SessionId) -> Result<Conversation, ProviderError>;
}

/// One page of a list.
pub(in crate::providers) struct Snapshots {
    /// The sessions, in the provider's order.
    pub(in crate::providers) readable: Vec<Snapshot>,
    /// How many items of the page cannot be read.
    pub(in crate::providers) unreadable: usize,
    /// The next page; `None` at the end.
    pub(in crate::providers) next: Option<PageToken>,
}

/// What was said in a session.
pub(in crate::providers) struct Conversation {
    /// In the order in which the provider tells it.
    pub(in crate::providers) messages: Vec<Message>,
    /// The session, where it comes with its conversation.
    pub(in crate::providers) snapshot: Option<Snapshot>,
}

/// What [`BaseProvider::adopt`](crate::providers::contract::BaseProvider::adopt) owes.
pub(in crate::providers) async fn adopt(
    provider: &impl PromptSource,
    query: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    scan(&ByMarker::new(provider, query)).await
}

/// What [`Listing::marked`](crate::providers::contract::Listing::marked) owes.
pub(in crate::providers) async fn marked(
    provider: &impl PromptSource,
    query: &MarkedRequest,
) -> Result<MarkedPage, ProviderError> {
    search(&ByMarker::new(provider, query)).await
}

/// What [`BaseProvider::shows_marker`](crate::providers::contract::BaseProvider::shows_marker) owes.
pub(in crate::providers) async fn shows_marker(
    provider: &impl PromptSource,
    session: &SessionId,
    installation: &InstallationId,
    uid: &str,
) -> Result<Option<bool>, ProviderError> {
    let conversation = provider.conversation(session).await?;
    Ok(shows(&conversation.messages, |marker| {
        marker.is_launch_of(installation, uid)
    }))
}

/// What [`FollowUps::find`](crate::providers::contract::FollowUps::find) owes, where a message is worked on in the session that it
/// was sent to.
pub(in crate::providers) async fn find_message<P: PromptSource + Provider>(
    provider: &P,
    session: &SessionRef,
    lost: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    let conversation = provider.conversation(&session.session_id).await?;
    Ok(match shown(&conversation.messages, lost) {
        Shown::There => AdoptAnswer::Found(vec![Found {
            snapshot: provider.get(session).await?,
            attempt: None,
            doubt: None,
        }]),
        Shown::NotThere => AdoptAnswer::Absent,
        Shown::Nothing => AdoptAnswer::Inconclusive {
            why: "the conversation shows no marker of this CodeSession".to_owned(),
            resume: None,
        },
    })
}

struct ByMarker<'a, P, Q> {
    provider: &'a P,
    query: &'a Q,
    sent: Option<SentText>,
}

impl<'a, P, Q: PromptQuery> ByMarker<'a, P, Q> {
    fn new(provider: &'a P, query: &'a Q) -> Self {
        Self {
            provider,
            query,
            sent: query.sent(),
        }
    }
}

#[async_trait]
impl<P: PromptSource, Q: PromptQuery> Matcher for ByMarker<'_, P, Q> {
    type Item = Snapshot;
    type Query = Q;

    fn query(&self) -> &Q {
        self.query
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Snapshot>, ProviderError> {
        let list = self
            .provider
            .snapshots(page, self.query.template_id())
            .await?;
        let candidates = list.readable.into_iter().map(|snapshot| Candidate {
            id: snapshot.session_id.clone(),
            item: snapshot,
        });
        Ok(Page {
            unreadable: list.unreadable,
            next: list.next,
            candidates: candidates.collect(),
        })
    }

    fn reach(&self, candidate: &Candidate<Snapshot>) -> Reach {
        self.query.reach(&candidate.item)
    }

    async fn judge(
        &self,
        candidate: &Candidate<Snapshot>,
    ) -> Result<Evidence<Q::Found>, ProviderError> {
        let listed = &candidate.item;
        let conversation = match self.provider.conversation(&candidate.id).await {
            Ok(conversation) => conversation,
            // There is none to be read any more, and time does not make it ours.
            Err(error) if is_lasting(&error) && self.query.is_too_old(listed) => {
                return Ok(Evidence::Foreign);
            }
            Err(error) => return Err(error),
        };
        let snapshot = conversation.snapshot.unwrap_or_else(|| listed.clone());
        Ok(judge(
            &conversation.messages,
            self.query,
            self.sent.as_ref(),
            snapshot,
        ))
    }
}

/// Whether asking again for the same conversation would be answered alike.
fn is_lasting(error: &ProviderError) -> bool {
    matches!(
        error.class,
        ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Protocol
    )
}
