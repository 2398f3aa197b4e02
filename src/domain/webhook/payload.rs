//! What a report says.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::change::Change;
use super::due::Report;
use crate::api::{CodeSessionStatus, ConditionStatus, SessionCondition, SessionPhase, condition};

/// Largest report, in bytes.
pub const MOST_BYTES: usize = 20 * 1024;

/// The session that is reported of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its CodeAgent.
    pub agent: &'a str,
}

/// The only kind of report.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub enum PayloadType {
    /// A session has changed.
    #[serde(rename = "codesession.changed")]
    SessionChanged,
}

/// A report, as of Standard Webhooks: at most 20 KiB of JSON.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "Report of a CodeSession to its webhook")]
pub struct Payload {
    /// What is reported.
    pub r#type: PayloadType,
    /// When the report was first tried.
    pub timestamp: String,
    /// The session as it stands.
    pub data: Data,
}

/// The session as it stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Namespace of the CodeSession.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: another session of the same name has another one.
    pub uid: String,
    /// Name of its CodeAgent.
    pub agent: String,
    /// Number of the session's state: a report with a smaller number than one that was taken is older. Numbers are left out where the session
    /// went on before a report was taken.
    pub sequence: i64,
    /// What is new since the last report that was taken; empty where the session has come back to that.
    pub changed: Vec<Change>,
    /// Where the session stands.
    pub phase: SessionPhase,
    /// Why, as one word of docs/conditions.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The newest message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// All messages, oldest first; the first is named prompt.
    pub messages: Vec<Message>,
    /// The pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// Pages on which to see more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Links>,
    /// The provider, as one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_session_id: Option<String>,
    /// Whether the agent waits for a person.
    pub blocked: bool,
    /// Whether the session does not get further without help.
    pub stalled: bool,
    /// Whether it is put away.
    pub archived: bool,
    /// When the provider accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it was seen to have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Whether something was left out because the report would have become too large: the CodeSession has it.
    pub truncated: bool,
}

/// A message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Message {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: SessionPhase,
}

/// The pull request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PullRequest {
    /// Its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The branch that the agent pushes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// Pages on which to see more. None holds a token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Links {
    /// The session at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// A recording of the emulator's screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// The execution trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// A live view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// What is left out of a report that is too large, one after the other.
const LEFT_OUT: [fn(&mut Data); 6] = [
    |data| data.links = None,
    |data| data.text = None,
    |data| data.messages.clear(),
    |data| data.provider_session_id = None,
    |data| data.pull_request = None,
    |data| data.reason = None,
];

/// The report as it is sent, at most [`MOST_BYTES`]. The same at each attempt, unless the session has changed.
pub fn payload(
    subject: Subject<'_>,
    status: &CodeSessionStatus,
    report: &Report,
    now: Timestamp,
) -> String {
    let state = &report.state;
    let said = condition(
        &status.conditions,
        match status.phase.is_terminal() || !state.stalled {
            true => SessionCondition::Succeeded,
            false => SessionCondition::Stalled,
        }
        .as_str(),
    )
    .filter(|said| said.status != ConditionStatus::True || !said.message.is_empty());
    let provider = status.provider.as_ref();
    let messages: Vec<Message> = status
        .messages
        .iter()
        .map(|message| Message {
            name: message.name.clone(),
            phase: message.phase,
        })
        .collect();
    let links = status.links.clone().unwrap_or_default();
    let links = Links {
        session: provider.and_then(|provider| provider.session_url.clone()),
        recording: links.recording,
        trace: links.trace,
        preview: links.preview,
    };
    let any = links.session.is_some()
        || links.recording.is_some()
        || links.trace.is_some()
        || links.preview.is_some();
    let mut payload = Payload {
        r#type: PayloadType::SessionChanged,
        timestamp: report.first_attempt_at.unwrap_or(now).to_string(),
        data: Data {
            namespace: subject.namespace.to_owned(),
            name: subject.name.to_owned(),
            uid: subject.uid.to_owned(),
            agent: subject.agent.to_owned(),
            sequence: report.sequence,
            changed: report.changed.clone(),
            phase: state.phase,
            reason: said.map(|said| said.reason.clone()),
            text: said
                .map(|said| said.message.clone())
                .filter(|text| !text.is_empty()),
            message: messages.last().cloned(),
            messages,
            pull_request: status.pull_request.as_ref().map(|found| PullRequest {
                url: found.url.clone(),
                branch: found.branch.clone(),
            }),
            links: any.then_some(links),
            provider: provider.map(|provider| provider.kind.clone()),
            provider_session_id: provider.and_then(|provider| provider.session_id.clone()),
            blocked: state.blocked,
            stalled: state.stalled,
            archived: state.archived,
            started_at: status.started_at.map(|at| at.to_string()),
            completed_at: status.completed_at.map(|at| at.to_string()),
            truncated: false,
        },
    };
    let mut text = json(&payload);
    for leave_out in LEFT_OUT {
        if text.len() <= MOST_BYTES {
            break;
        }
        leave_out(&mut payload.data);
        payload.data.truncated = true;
        text = json(&payload);
    }
    text
}

fn json(payload: &Payload) -> String {
    // Names, texts and numbers alone: there is nothing that JSON cannot hold.
    serde_json::to_string(payload).unwrap_or_default()
}
