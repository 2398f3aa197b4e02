//! Finding an interrupted launch again.

use async_trait::async_trait;

use super::agents::CursorV1;
use super::name::{agent_id, key_digits, named};
use super::wire::Agent;
use crate::domain::ids::SessionId;
use crate::domain::remote::Recovery;
use crate::domain::repository::same_repository;
use crate::providers::contract::{AdoptAnswer, AdoptRequest, Found, PageToken};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::recovery::marker::is_long_before;
use crate::providers::recovery::scan::{Candidate, Evidence, Matcher, Page, Query, Reach, scan};

/// Asks for the id of every attempt, newest first. That somebody else has the id of an older one is why there was a newer. What was sent
/// without an id, also once of several times, is looked for by the name that we gave, and so is a miss where this account has not been
/// seen to honour our ids.
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
    if request.recovery == Recovery::ClientId && request.evidence_seen {
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
    // The id is 122 bits of a hash over our uid. A repository that has another name by now does not speak against it, and to
    // launch again would pay twice.
    let renamed = agent
        .repository()
        .is_some_and(|theirs| !same_repository(&request.repository, &theirs));
    Ok(LookUp::Ours(Box::new(Found {
        doubt: renamed.then(|| "its repository is another one than it was launched for".to_owned()),
        snapshot: cursor.look_at(agent).await?,
        attempt: None,
    })))
}

/// Finds agents by the name that we gave them: v1 lets nobody read the first message, so that name, repository, window and
/// "nobody else's" are all the evidence there is.
struct ByName<'a> {
    cursor: &'a CursorV1,
    request: &'a AdoptRequest,
}

#[async_trait]
impl Matcher for ByName<'_> {
    type Item = Agent;
    type Query = AdoptRequest;

    fn query(&self) -> &AdoptRequest {
        self.request
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Agent>, ProviderError> {
        self.cursor.candidates(page).await
    }

    fn reach(&self, candidate: &Candidate<Agent>) -> Reach {
        let agent = &candidate.item;
        match (
            self.name_says(agent),
            self.request.in_window(agent.created_at),
        ) {
            (NameSays::Another, _) => Reach::Never,
            (NameSays::Ours | NameSays::Nothing, true) => Reach::Near,
            (NameSays::Ours, false) => Reach::Far,
            // Cursor may have named it, and clocks differ.
            (NameSays::Nothing, false) if !self.names_are_kept() && !self.is_too_old(agent) => {
                Reach::Far
            }
            (NameSays::Nothing, false) => Reach::Never,
        }
    }

    async fn judge(&self, candidate: &Candidate<Agent>) -> Result<Evidence<Found>, ProviderError> {
        let agent = match self.cursor.agent(candidate.id.as_str()).await {
            Ok(agent) => agent,
            // The list knows it.
            Err(error) if error.class == ErrorClass::NotFound => return Ok(Evidence::Undecided),
            Err(error) => return Err(error),
        };
        let same = agent
            .repository()
            .map(|theirs| same_repository(&self.request.repository, &theirs));
        Ok(match (self.name_says(&agent), same) {
            (NameSays::Another, _) | (NameSays::Nothing, Some(false)) => Evidence::Foreign,
            (NameSays::Nothing, _) if self.names_are_kept() => Evidence::Foreign,
            (NameSays::Ours, Some(true)) => Evidence::Ours(Box::new(Found {
                doubt: None,
                snapshot: self.cursor.look_at(agent).await?,
                attempt: None,
            })),
            // Eight digits of a key are not enough without the repository, which may have another name by now. A name that is
            // not of our making may be one that Cursor gave it.
            (NameSays::Ours, _) | (NameSays::Nothing, _) => Evidence::Undecided,
        })
    }
}

/// What the name of an agent says of who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameSays {
    /// The launch that is looked for.
    Ours,
    /// Another launch, or another installation.
    Another,
    /// Nothing: there is none, or it is not of our making.
    Nothing,
}

impl ByName<'_> {
    /// Whether it was created so long before the launch that clocks cannot be the reason.
    fn is_too_old(&self, agent: &Agent) -> bool {
        agent
            .created_at
            .is_some_and(|created| is_long_before(created, self.request.created_from))
    }

    /// Whether this account has shown that agents have the names that we give them.
    fn names_are_kept(&self) -> bool {
        self.request.recovery == Recovery::Marker && self.request.evidence_seen
    }

    fn name_says(&self, agent: &Agent) -> NameSays {
        match agent.name.as_deref().and_then(named) {
            // Without an installation in it: of a launch whose prompt had no marker.
            None => match agent.name.as_deref().and_then(key_digits) {
                Some(digits) if self.request.keys.iter().all(|key| key.short() != digits) => {
                    NameSays::Another
                }
                Some(_) | None => NameSays::Nothing,
            },
            Some(named)
                if named.installation == self.request.installation
                    && self.request.keys.iter().any(|key| key.short() == named.key) =>
            {
                NameSays::Ours
            }
            Some(_) => NameSays::Another,
        }
    }
}
