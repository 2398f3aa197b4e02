//! Finding all agents of this installation, by the name that it gave them.

use async_trait::async_trait;

use super::agents::CursorV1;
use super::name::{Named, agent_id, named};
use super::wire::Agent;
use crate::domain::ids::{LaunchKey, SessionId};
use crate::providers::contract::{Mark, Marked, MarkedPage, MarkedRequest, PageToken};
use crate::providers::error::ProviderError;
use crate::providers::recovery::scan::{Candidate, Evidence, Matcher, Page, Query, Reach, search};

pub(super) async fn marked(
    cursor: &CursorV1,
    request: &MarkedRequest,
) -> Result<MarkedPage, ProviderError> {
    search(&ByInstallation { cursor, request }).await
}

struct ByInstallation<'a> {
    cursor: &'a CursorV1,
    request: &'a MarkedRequest,
}

#[async_trait]
impl Matcher for ByInstallation<'_> {
    type Item = Agent;
    type Query = MarkedRequest;

    fn query(&self) -> &MarkedRequest {
        self.request
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Agent>, ProviderError> {
        self.cursor.candidates(page).await
    }

    fn reach(&self, candidate: &Candidate<Agent>) -> Reach {
        let agent = &candidate.item;
        // The list does not tell of runs, but an agent that is neither active nor unheard of has none under way.
        let ended = matches!(agent.status.as_deref(), Some("IDLE" | "ARCHIVED"));
        let old = agent
            .created_at
            .is_some_and(|created| created < self.request.ended_from);
        let in_question = self.request.in_window(agent.created_at)
            && self.ours(agent).is_some()
            && !(ended && old);
        if in_question {
            Reach::Near
        } else {
            Reach::Never
        }
    }

    async fn judge(&self, candidate: &Candidate<Agent>) -> Result<Evidence<Marked>, ProviderError> {
        let agent = &candidate.item;
        let Some(named) = self.ours(agent) else {
            return Ok(Evidence::Foreign);
        };
        let run = self.cursor.newest_run(agent).await?;
        let session_id = SessionId::new(agent.id.0.as_str());
        Ok(Evidence::Ours(Box::new(Marked {
            mark: Mark::Name {
                key: own_key(agent, &named),
                digits: named.key.to_owned(),
                installation: named.installation,
            },
            snapshot: self.cursor.snapshot(Some(agent), run, &session_id),
        })))
    }
}

impl ByInstallation<'_> {
    fn ours<'a>(&self, agent: &'a Agent) -> Option<Named<'a>> {
        named(agent.name.as_deref()?)
            .filter(|named| named.installation == self.request.installation)
    }
}

/// The key that the agent's id is made of, where Cursor has used the id that was asked for.
fn own_key(agent: &Agent, named: &Named<'_>) -> Option<LaunchKey> {
    let id = agent.id.0.as_str();
    let key = LaunchKey::recorded(id.strip_prefix("bc-")?);
    (agent_id(&key) == id && key.short() == named.key).then_some(key)
}
