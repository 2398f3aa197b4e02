//! One session at the provider behind a coding agent.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::Moment;
use crate::fields::Fields;
use crate::http::Refusal;
use crate::options::CodingAgentType;
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};

/// A valid `POST /v1/coding-agents/{id}/sessions:launch`.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) issue: String,
    actor: Option<String>,
}

impl Launch {
    /// The actor may be written in either case, as Connect reads JSON.
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let issue = fields.required_string("issue")?.to_owned();
        let actor = match fields.nullable_string("actor_email")? {
            None => fields.nullable_string("actorEmail")?,
            given => given,
        };
        Ok(Self {
            issue,
            actor: actor.map(str::to_owned),
        })
    }
}

#[derive(Debug)]
pub(super) struct Session {
    /// The provider's own id.
    pub(super) id: String,
    /// Id of the coding agent.
    pub(super) agent: String,
    pub(super) kind: CodingAgentType,
    pub(super) account: String,
    /// E.g. `issues/FT-42`.
    pub(super) issue: String,
    /// For whom, where the provider knows attribution.
    pub(super) actor: Option<String>,
    /// When the issue's links show it.
    pub(super) linked_from: Moment,
    pub(super) timeline: Timeline,
}

/// A new session's circumstances beyond its request.
pub(super) struct Birth {
    pub(super) agent: String,
    pub(super) kind: CodingAgentType,
    pub(super) account: String,
    pub(super) now: Moment,
    pub(super) linked_from: Moment,
    pub(super) script: Script,
}

impl Session {
    pub(super) fn launch(request: Launch, birth: Birth) -> Self {
        let Birth {
            agent,
            kind,
            account,
            now,
            linked_from,
            script,
        } = birth;
        let (id, actor) = match kind {
            CodingAgentType::Cursor => (format!("bc-{}", Uuid::new_v4()), None),
            // Documented: only Inspect is told for whom.
            CodingAgentType::Inspect => (Uuid::new_v4().to_string(), request.actor),
        };
        Self {
            id,
            agent,
            kind,
            account,
            issue: request.issue,
            actor,
            linked_from,
            timeline: Timeline::new(now, script, SetupStage::Skipped),
        }
    }

    /// Where a person can look at it.
    pub(super) fn url(&self) -> String {
        match self.kind {
            CodingAgentType::Cursor => format!("https://cursor.com/agents/{}", self.id),
            CodingAgentType::Inspect => {
                format!("https://inspect.ramp.engineering/sessions/{}", self.id)
            }
        }
    }

    /// The four documented words.
    pub(super) fn status(&self, now: Moment) -> &'static str {
        match self.timeline.stage(now) {
            Stage::Creating => "PENDING",
            Stage::Setup | Stage::Running => "RUNNING",
            Stage::Ended(Ending::Finished) => "FINISHED",
            Stage::Ended(Ending::Error | Ending::Expired | Ending::Cancelled) => "FAILED",
        }
    }

    pub(super) fn object(&self, now: Moment) -> Value {
        json!({
            "name": format!("coding-agents/{}/sessions/{}", self.agent, self.id),
            "externalId": self.id,
            "sessionUrl": self.url(),
            "status": self.status(now),
        })
    }
}
