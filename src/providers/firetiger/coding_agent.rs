//! One coding agent of Firetiger: what it answers of itself and of its sessions.

use super::wire::{Answer, CodingAgent, Session};
use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::snapshot::{Links, RemotePhase, Snapshot};
use crate::providers::contract::SessionRef;
use crate::providers::error::{ErrorClass, ProviderError, Subject};
use crate::providers::http::{Api, Operation};
use crate::providers::wire::{link, raw_status};

/// A connection to one coding agent of Firetiger.
#[derive(Debug)]
pub(super) struct Firetiger {
    pub(super) api: Api,
    pub(super) fingerprint: AccountFingerprint,
    pub(super) agent_id: String,
}

impl Firetiger {
    pub(super) async fn session(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        let id = session.session_id.as_str();
        let path = ["v1", "coding-agents", &self.agent_id, "sessions", id];
        let answer: Answer = self.api.get(Operation::Get, &path, &[]).await?;
        Ok(self.snapshot(answer.into_session(), &session.session_id))
    }

    pub(super) fn snapshot(&self, session: Session, asked: &SessionId) -> Snapshot {
        Snapshot {
            session_id: asked.clone(),
            run_id: None,
            phase: phase_of(session.status()),
            raw_status: raw_status(session.status()),
            // The external agent knows; Firetiger passes on the state and the page alone.
            repository: None,
            url: link(session.session_url),
            branch: None,
            pull_request_url: None,
            blocked: None,
            result: None,
            error: None,
            links: Links::default(),
            usage: None,
            duration: None,
            created_at: session.create_time,
        }
    }

    pub(super) async fn coding_agent(&self) -> Result<CodingAgent, ProviderError> {
        let path = ["v1", "coding-agents", &self.agent_id];
        let agent = self.api.get(Operation::Verify, &path, &[]).await;
        agent.map_err(|error| match error.class {
            ErrorClass::NotFound => self.no_coding_agent(error),
            _ => error,
        })
    }

    fn no_coding_agent(&self, error: ProviderError) -> ProviderError {
        ProviderError {
            subject: Some(Subject::CodingAgent),
            message: format!(
                "there is no coding agent {}: no connection has this id, or it is of a type that is no coding agent",
                self.agent_id
            ),
            ..error
        }
    }

    /// A launch that is answered with "not found" alone does not say what was not found: issue or coding agent. A look at the
    /// agent tells.
    pub(super) async fn what_is_missing(&self, error: ProviderError, issue: &str) -> ProviderError {
        let (subject, known) = match self.coding_agent().await {
            Ok(_) => (Some(Subject::Issue), format!("Firetiger knows no {issue}")),
            Err(found) if found.class == ErrorClass::NotFound => {
                return self.no_coding_agent(error);
            }
            Err(_) => (
                None,
                format!(
                    "Firetiger knows no {issue}, or no coding agent {}",
                    self.agent_id
                ),
            ),
        };
        ProviderError {
            subject,
            message: self.api.message(&format!("{known}: {}", error.message)),
            ..error
        }
    }
}

fn phase_of(status: &str) -> RemotePhase {
    match status {
        "PENDING" => RemotePhase::Creating,
        "RUNNING" => RemotePhase::Running,
        "FINISHED" => RemotePhase::Finished,
        "FAILED" => RemotePhase::Error,
        _ => RemotePhase::Unrecognised,
    }
}
