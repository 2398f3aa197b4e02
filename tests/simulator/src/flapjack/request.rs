//! Request bodies and queries of sessions, validated against the documentation. Unknown members are ignored.

use http::StatusCode;
use serde_json::{Map, Value};

use super::template::repository;
use super::webhook_url::is_public_https;
use crate::fields::Fields;
use crate::http::{Call, Refusal};
use crate::page::Query;
use crate::script::Script;

const DEFAULT_EVENTS: usize = 200;
const MAX_EVENTS: usize = 500;
const STATUSES: [&str; 7] = [
    "pending",
    "creating",
    "running",
    "finished",
    "error",
    "cancelled",
    "expired",
];

/// A valid `POST /api/code-sessions`.
#[derive(Debug)]
pub(super) struct StartSession {
    pub(super) template: String,
    pub(super) prompt: String,
    pub(super) directive: Script,
    pub(super) org: Option<String>,
    pub(super) repository: Option<String>,
    pub(super) starting_ref: Option<String>,
    pub(super) auto_create_pr: Option<bool>,
    pub(super) work_on_current_branch: Option<bool>,
    pub(super) model: Option<String>,
    pub(super) webhook_url: Option<String>,
}

impl StartSession {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let text = |name| Ok::<_, Refusal>(fields.string(name)?.map(str::to_owned));
        let template = fields.required_string("codeAgentId")?.to_owned();
        let (prompt, directive) = prompt(&fields)?;
        // Only required: whose key it is shows first when the session runs, and it is never kept here.
        fields.required_string("cursorApiKey")?;
        fields.boolean("skipReviewerRequest")?;
        fields.nullable_members("modelParams")?;
        Ok(Self {
            template,
            prompt,
            directive,
            org: text("orgId")?,
            repository: repository(&fields, "repoUrl")?,
            starting_ref: text("startingRef")?,
            auto_create_pr: fields.boolean("autoCreatePR")?,
            work_on_current_branch: fields.boolean("workOnCurrentBranch")?,
            model: text("modelId")?,
            webhook_url: webhook_url(&fields)?,
        })
    }
}

/// A valid `POST /api/code-sessions/{id}/messages`.
#[derive(Debug)]
pub(super) struct SendMessage {
    pub(super) prompt: String,
    pub(super) directive: Script,
}

impl SendMessage {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let (prompt, directive) = prompt(&Fields::root(body))?;
        Ok(Self { prompt, directive })
    }
}

/// A valid `PATCH /api/code-sessions/{id}`: the new webhook URL, `None` to clear it; outer `None`: as before.
pub(super) fn webhook_change(body: &Map<String, Value>) -> Result<Option<Option<String>>, Refusal> {
    let fields = Fields::root(body);
    let url = webhook_url(&fields)?;
    Ok(fields.has("webhookUrl").then_some(url))
}

fn webhook_url(fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    match fields.nullable_string("webhookUrl")? {
        Some(url) if !is_public_https(url) => {
            Err(fields.invalid("webhookUrl", "Must be a public HTTPS URL"))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

fn prompt(fields: &Fields<'_>) -> Result<(String, Script), Refusal> {
    let text = fields.required_string("prompt")?;
    let directive =
        Script::from_prompt(text).map_err(|error| Refusal::validation(error.explain()))?;
    Ok((text.to_owned(), directive))
}

/// The filters of `GET /api/code-sessions`. `None` matches all.
#[derive(Debug)]
pub(super) struct SessionFilter {
    pub(super) template: Option<String>,
    pub(super) status: Option<String>,
    pub(super) archived: Option<bool>,
}

impl SessionFilter {
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let status = query.string("status")?;
        if let Some(unknown) = status.filter(|status| !STATUSES.contains(status)) {
            return Err(Refusal::validation(format!(
                "status: Unknown status '{unknown}'"
            )));
        }
        Ok(Self {
            template: query.string("codeAgentId")?.map(str::to_owned),
            status: status.map(str::to_owned),
            archived: query.boolean("archived")?,
        })
    }
}

/// The query of `GET /api/code-sessions/{id}/events`.
#[derive(Debug)]
pub(super) struct EventQuery {
    pub(super) since: u64,
    pub(super) message: Option<String>,
    pub(super) limit: usize,
}

impl EventQuery {
    pub(super) fn parse(call: &Call) -> Result<Self, Refusal> {
        let query = Query::lenient(call);
        Ok(Self {
            since: query.number("since", 0..=u64::MAX)?.unwrap_or(0),
            message: query.string("messageId")?.map(str::to_owned),
            limit: query
                .number("limit", 1..=MAX_EVENTS)?
                .unwrap_or(DEFAULT_EVENTS),
        })
    }
}

/// A refusal because of the state that a session is in.
pub(super) fn conflict(code: &'static str, detail: &'static str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, code, detail)
}
