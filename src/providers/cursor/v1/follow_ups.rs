//! Follow-up messages: each is a run of the agent.
//!
//! v1 lets nobody read what a run was asked, so a lost one is found by comparing: of the runs that are newer than the newest one
//! of before, exactly one is ours. A person who writes to the same agent makes that two.

use async_trait::async_trait;

use super::agents::{CursorV1, PAGE_SIZE, is_archived, phase_of_run};
use super::wire::{CreateRun, CreatedRun, Model, Prompt, Run, RunList};
use crate::domain::ids::{RunId, SessionId};
use crate::providers::contract::{
    AdoptAnswer, AdoptRequest, FollowUps, Found, MessageOutcome, MessageRequest, Messaged,
    SessionRef,
};
use crate::providers::error::{ErrorClass, ProviderError, Subject};
use crate::providers::http::{Operation, judge_message};
use crate::providers::wire::next_page;

/// Codes of a 409 that say that no run was started.
const REFUSED_MESSAGES: [(&str, Subject); 2] = [
    ("agent_busy", Subject::Busy),
    ("agent_archived", Subject::Archived),
];
/// Pages of runs that are read for one look: an agent has few.
const MOST_PAGES: usize = 20;

#[async_trait]
impl FollowUps for CursorV1 {
    async fn newest(&self, session: &SessionRef) -> Result<Option<String>, ProviderError> {
        let id = session.session_id.as_str();
        let runs = self.runs(id, "1", None).await?;
        let Some(newest) = readable(&runs)?.first() else {
            return Ok(None);
        };
        // A run of an archived agent may seem active for ever; that it is archived is told by the request itself.
        if !phase_of_run(newest.status.as_deref()).is_terminal()
            && !is_archived(&self.agent(id).await?)
        {
            return Err(ProviderError {
                subject: Some(Subject::Busy),
                ..ProviderError::unsent(
                    ErrorClass::Conflict,
                    format!(
                        "run {} of the agent has not ended, and it works on one at a time",
                        newest.id.0
                    ),
                )
            });
        }
        Ok(Some(newest.id.0.clone()))
    }

    async fn send(&self, request: &MessageRequest) -> MessageOutcome {
        let id = request.session.session_id.as_str();
        let body = CreateRun {
            prompt: Prompt::new(&request.prompt, &request.images),
            model: request.model.as_ref().and_then(Model::chosen),
        };
        let path = ["v1", "agents", id, "runs"];
        let answer = self
            .api
            .paid(Operation::Message, &path, &body, request.window)
            .await
            .map(|created: CreatedRun| Messaged {
                session_id: SessionId::new(id),
                phase: phase_of_run(created.run.status.as_deref()),
                run_id: Some(RunId::new(created.run.id.0)),
            });
        judge_message(answer, &REFUSED_MESSAGES)
    }

    async fn find(
        &self,
        session: &SessionRef,
        lost: &AdoptRequest,
    ) -> Result<AdoptAnswer, ProviderError> {
        let id = session.session_id.as_str();
        let mut newer: Vec<String> = Vec::new();
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let runs = self.runs(id, PAGE_SIZE, next.as_deref()).await?;
            for run in readable(&runs)? {
                if lost.baseline.as_deref() == Some(run.id.0.as_str()) {
                    return self.verdict(id, newer).await;
                }
                newer.push(run.id.0.clone());
            }
            next = match next_page(runs.next_cursor)? {
                Some(page) => Some(page.0),
                // The first message of an agent that had none, or a list that has lost what was its newest.
                None if lost.baseline.is_none() => return self.verdict(id, newer).await,
                None => break,
            };
        }
        Ok(AdoptAnswer::Inconclusive {
            why: "the list of runs does not show the newest one of before".to_owned(),
            resume: None,
        })
    }
}

impl CursorV1 {
    async fn runs(
        &self,
        id: &str,
        limit: &str,
        page: Option<&str>,
    ) -> Result<RunList, ProviderError> {
        let mut query = vec![("limit", limit)];
        query.extend(page.map(|page| ("cursor", page)));
        self.api
            .get(Operation::Get, &["v1", "agents", id, "runs"], &query)
            .await
    }

    /// What the runs that are newer than the newest one of before come to.
    async fn verdict(&self, id: &str, newer: Vec<String>) -> Result<AdoptAnswer, ProviderError> {
        match newer.as_slice() {
            [] => Ok(AdoptAnswer::Absent),
            [ours] => {
                let run = self.run(id, ours).await?;
                Ok(AdoptAnswer::Found(vec![Found {
                    snapshot: self.snapshot(None, Some(run), &SessionId::new(id)),
                    attempt: None,
                    doubt: None,
                }]))
            }
            several => Ok(AdoptAnswer::Ambiguous {
                why: format!(
                    "there are {} new runs where one was expected, and somebody may have written to the same agent",
                    several.len()
                ),
            }),
        }
    }
}

fn readable(runs: &RunList) -> Result<&[Run], ProviderError> {
    runs.items
        .all()
        .ok_or_else(|| ProviderError::unreadable(None, "the runs of the agent cannot be read"))
}
