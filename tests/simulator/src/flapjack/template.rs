//! Templates ("code agents"): what sessions are made from.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment};
use crate::cursor::repository::repository_path;
use crate::fields::Fields;
use crate::http::Refusal;

#[derive(Debug)]
pub(super) struct Template {
    pub(super) id: String,
    pub(super) org: String,
    pub(super) model: String,
    pub(super) repository: Option<String>,
    pub(super) starting_ref: String,
    pub(super) auto_create_pr: bool,
    pub(super) work_on_current_branch: bool,
    name: String,
    description: Option<String>,
    model_params: Option<Value>,
    skip_reviewer_request: bool,
    preamble: Option<String>,
    created_by: String,
    created: Moment,
    updated: Moment,
}

/// What becomes of a value that may be missing.
#[derive(Debug)]
enum Change<T> {
    Keep,
    Clear,
    Set(T),
}

impl<T> Change<T> {
    /// Of a member that may be null: absent, null or `value`.
    fn read(fields: &Fields<'_>, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => Self::Set(value),
            None if fields.has(name) => Self::Clear,
            None => Self::Keep,
        }
    }

    fn apply(self, value: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *value = None,
            Self::Set(new) => *value = Some(new),
        }
    }
}

/// A valid `POST /api/code-agents` or `PATCH /api/code-agents/{id}`: the same fields.
#[derive(Debug)]
pub(super) struct TemplateChanges {
    /// Only a new template can be put into an organisation.
    pub(super) org: Option<String>,
    name: Option<String>,
    description: Change<String>,
    model: Option<String>,
    model_params: Change<Value>,
    repository: Change<String>,
    starting_ref: Option<String>,
    auto_create_pr: Option<bool>,
    work_on_current_branch: Option<bool>,
    skip_reviewer_request: Option<bool>,
    preamble: Change<String>,
}

impl TemplateChanges {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let text = |name| Ok::<_, Refusal>(fields.string(name)?.map(str::to_owned));
        let nullable = |name| {
            let value = fields.nullable_string(name)?.map(str::to_owned);
            Ok::<_, Refusal>(Change::read(&fields, name, value))
        };
        Ok(Self {
            org: text("orgId")?,
            name: text("name")?,
            description: nullable("description")?,
            model: text("modelId")?,
            model_params: Change::read(
                &fields,
                "modelParams",
                fields.nullable_members("modelParams")?,
            ),
            repository: Change::read(
                &fields,
                "defaultRepoUrl",
                repository(&fields, "defaultRepoUrl")?,
            ),
            starting_ref: text("defaultStartingRef")?,
            auto_create_pr: fields.boolean("autoCreatePR")?,
            work_on_current_branch: fields.boolean("workOnCurrentBranch")?,
            skip_reviewer_request: fields.boolean("skipReviewerRequest")?,
            preamble: nullable("preamble")?,
        })
    }
}

/// The URL of a repository that Cursor would take, or null.
pub(super) fn repository(fields: &Fields<'_>, name: &str) -> Result<Option<String>, Refusal> {
    match fields.nullable_string(name)? {
        Some(url) if repository_path(url).is_none() => {
            Err(fields.invalid(name, "Invalid repository URL"))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

impl Template {
    /// With the documented defaults.
    pub(super) fn new(id: String, org: String, created_by: String, now: Moment) -> Self {
        Self {
            id,
            org,
            model: "auto".to_owned(),
            repository: None,
            starting_ref: "main".to_owned(),
            auto_create_pr: true,
            work_on_current_branch: false,
            name: "New code agent".to_owned(),
            description: None,
            model_params: None,
            skip_reviewer_request: false,
            preamble: None,
            created_by,
            created: now,
            updated: now,
        }
    }

    pub(super) fn change(&mut self, changes: TemplateChanges, now: Moment) {
        changes.description.apply(&mut self.description);
        changes.model_params.apply(&mut self.model_params);
        changes.repository.apply(&mut self.repository);
        changes.preamble.apply(&mut self.preamble);
        set(&mut self.name, changes.name);
        set(&mut self.model, changes.model);
        set(&mut self.starting_ref, changes.starting_ref);
        set(&mut self.auto_create_pr, changes.auto_create_pr);
        set(
            &mut self.work_on_current_branch,
            changes.work_on_current_branch,
        );
        set(
            &mut self.skip_reviewer_request,
            changes.skip_reviewer_request,
        );
        self.updated = now;
    }

    pub(super) fn object(&self, clock: &Clock) -> Value {
        json!({
            "id": self.id,
            "org_id": self.org,
            "name": self.name,
            "description": self.description,
            "model_id": self.model,
            "model_params": self.model_params,
            "default_repo_url": self.repository,
            "default_starting_ref": self.starting_ref,
            "auto_create_pr": self.auto_create_pr,
            "work_on_current_branch": self.work_on_current_branch,
            "skip_reviewer_request": self.skip_reviewer_request,
            "preamble": self.preamble,
            "created_by": self.created_by,
            "created_at": clock.iso(self.created),
            "updated_at": clock.iso(self.updated),
        })
    }
}

fn set<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}

/// The refusal for a template that is not there.
pub(super) fn template_not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", "Code agent not found")
}
