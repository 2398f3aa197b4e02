//! Finding an interrupted launch again.

use async_trait::async_trait;

use super::wire::Agent;
use super::{CursorV1, agent_id, named};
use crate::domain::ids::SessionId;
use crate::providers::contract::{AdoptAnswer, AdoptRequest, Found, PageToken};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::repository::same_repository;
use crate::providers::scan::{Candidate, Judge, Page, Verdict, scan};

/// Asks for the id of every attempt, newest first. That somebody else has the id of an older one is why there was a newer. Where this account has not been seen to honour our ids, a miss is followed by a scan for
/// the name that we gave.
pub(super) async fn adopt(
    cursor: &CursorV1,
    request: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    let mut found = Vec::new();
    let mut foreign = None;
    let mut failed = None;
    for (age, key) in request.keys.iter().enumerate() {
        match look_up(cursor, request, &agent_id(key)).await {
            Ok(LookUp::Ours(ours)) => found.push(*ours),
            Ok(LookUp::Foreign(why)) if age == 0 => foreign = Some(why),
            Ok(LookUp::Foreign(_) | LookUp::Absent) => {}
            Err(error) => failed = Some(error),
        }
    }
    if !found.is_empty() {
        found.sort_by_key(|found: &Found| found.snapshot.created_at);
        return Ok(AdoptAnswer::Found(found));
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(why) = foreign {
        return Ok(AdoptAnswer::Foreign { why });
    }
    if request.client_id_honoured {
        return Ok(AdoptAnswer::Absent);
    }
    scan(&ByName { cursor, request }).await
}

enum LookUp {
    Ours(Box<Found>),
    Foreign(String),
    Absent,
}

/// Looks at the agent with one of our ids.
async fn look_up(
    cursor: &CursorV1,
    request: &AdoptRequest,
    id: &str,
) -> Result<LookUp, ProviderError> {
    let agent = match cursor.agent(id).await {
        Ok(agent) => agent,
        Err(error) if error.class == ErrorClass::NotFound => return Ok(LookUp::Absent),
        Err(error) => return Err(error),
    };
    if request.owned.contains(&SessionId::new(id)) {
        return Ok(LookUp::Foreign(format!(
            "{id} is recorded on another CodeSession"
        )));
    }
    // The id is 122 bits of a hash over our uid, so that an answer without a repository does not speak against it.
    if repository_of(&agent).is_some_and(|theirs| !same_repository(&request.repository, theirs)) {
        return Ok(LookUp::Foreign(format!("{id} works on another repository")));
    }
    Ok(LookUp::Ours(Box::new(Found {
        doubt: None,
        snapshot: cursor.look_at(agent).await?,
        attempt: None,
    })))
}

fn repository_of(agent: &Agent) -> Option<&str> {
    agent
        .repos
        .as_ref()?
        .iter()
        .find_map(|repo| repo.url.as_deref())
}

/// Finds agents by the name that we gave them: v1 lets nobody read the first message, so that name, repository, window and
/// "nobody else's" are all the evidence there is.
struct ByName<'a> {
    cursor: &'a CursorV1,
    request: &'a AdoptRequest,
}

#[async_trait]
impl Judge for ByName<'_> {
    type Item = Agent;
    type Quest = AdoptRequest;

    fn quest(&self) -> &AdoptRequest {
        self.request
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Agent>, ProviderError> {
        self.cursor.candidates(page).await
    }

    fn possible(&self, candidate: &Candidate<Agent>) -> bool {
        self.may_be_ours(&candidate.item)
    }

    async fn judge(&self, candidate: &Candidate<Agent>) -> Result<Verdict<Found>, ProviderError> {
        let agent = match self.cursor.agent(candidate.id.as_str()).await {
            Ok(agent) => agent,
            // The list knows it.
            Err(error) if error.class == ErrorClass::NotFound => return Ok(Verdict::Undecided),
            Err(error) => return Err(error),
        };
        match (agent.name.as_deref(), repository_of(&agent)) {
            (None, _) | (_, None) => Ok(Verdict::Undecided),
            (Some(_), Some(theirs))
                if self.may_be_ours(&agent)
                    && same_repository(&self.request.repository, theirs) =>
            {
                Ok(Verdict::Ours(Box::new(Found {
                    doubt: None,
                    snapshot: self.cursor.look_at(agent).await?,
                    attempt: None,
                })))
            }
            (Some(_), Some(_)) => Ok(Verdict::Foreign),
        }
    }
}

impl ByName<'_> {
    fn may_be_ours(&self, agent: &Agent) -> bool {
        // An agent whose name the list leaves out may have any.
        agent.name.as_deref().is_none_or(|name| {
            named(name).is_some_and(|named| {
                named.installation == self.request.installation
                    && self.request.keys.iter().any(|key| key.short() == named.key)
            })
        })
    }
}
