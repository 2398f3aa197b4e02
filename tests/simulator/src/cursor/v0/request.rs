//! Request bodies of Cursor v0, validated against the API description of March 2026. Unknown members are ignored.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::cursor::catalogue::check_model;
use crate::cursor::repository::{
    pull_request_repository, repository_path, unresolved_pull_request,
};
use crate::fields::{Fields, ImageForm};
use crate::http::Refusal;
use crate::script::Script;
use crate::webhook::Webhook;

const MAX_WEBHOOK_URL_CHARACTERS: usize = 2048;
const WEBHOOK_SECRET_CHARACTERS: std::ops::RangeInclusive<usize> = 32..=256;
/// The account's own choice, in place of a model's id.
const DEFAULT_MODEL: &str = "default";

/// A valid `POST /v0/agents`.
#[derive(Debug)]
pub(super) struct CreateAgent {
    pub(super) prompt: String,
    pub(super) directive: Script,
    pub(super) source: Source,
    pub(super) target: Target,
    pub(super) webhook: Option<Webhook>,
}

/// What an agent works on.
#[derive(Debug)]
pub(super) enum Source {
    Repository {
        url: String,
        git_ref: Option<String>,
    },
    PullRequest {
        url: String,
        /// The repository that it belongs to.
        repository: String,
    },
}

impl Source {
    pub(super) fn repository(&self) -> &str {
        match self {
            Self::Repository { url, .. } => url,
            Self::PullRequest { repository, .. } => repository,
        }
    }

    pub(super) fn git_ref(&self) -> Option<&str> {
        match self {
            Self::Repository { git_ref, .. } => git_ref.as_deref(),
            Self::PullRequest { .. } => None,
        }
    }

    /// The pull request that the agent was created from.
    pub(super) fn pull_request(&self) -> Option<&str> {
        match self {
            Self::Repository { .. } => None,
            Self::PullRequest { url, .. } => Some(url),
        }
    }
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) auto_create_pr: bool,
    pub(super) open_as_app: bool,
    pub(super) skip_reviewer_request: bool,
    pub(super) branch_name: Option<String>,
    /// Whether an agent that was created from a pull request works on a branch of its own.
    pub(super) auto_branch: bool,
}

/// A valid `POST /v0/agents/{id}/followup`.
#[derive(Debug)]
pub(super) struct FollowUp {
    pub(super) prompt: String,
    pub(super) directive: Script,
}

impl CreateAgent {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let (prompt, directive) = prompt(&fields)?;
        model(&fields)?;
        let source = source(&fields.required_object("source")?)?;
        let target = target(&fields)?;
        let webhook = webhook(&fields)?;
        Ok(Self {
            prompt,
            directive,
            source,
            target,
            webhook,
        })
    }
}

impl FollowUp {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let (prompt, directive) = prompt(&Fields::root(body))?;
        Ok(Self { prompt, directive })
    }
}

fn prompt(fields: &Fields<'_>) -> Result<(String, Script), Refusal> {
    let text = fields.prompt(ImageForm::Data)?;
    let directive =
        Script::from_prompt(text).map_err(|error| Refusal::validation(error.explain()))?;
    Ok((text.to_owned(), directive))
}

fn model(fields: &Fields<'_>) -> Result<(), Refusal> {
    match fields.string("model")? {
        None | Some(DEFAULT_MODEL) => Ok(()),
        Some(id) => check_model(id, &[])
            .map_err(|problem| Refusal::new(StatusCode::BAD_REQUEST, "invalid_model", problem)),
    }
}

fn source(source: &Fields<'_>) -> Result<Source, Refusal> {
    let repository = source.string("repository")?;
    let git_ref = source.string("ref")?.map(str::to_owned);
    if let Some(pull_request) = source.web_url("prUrl")? {
        if repository.is_some() || git_ref.is_some() {
            return Err(source.invalid("prUrl", "Cannot be combined with repository or ref"));
        }
        let repository = pull_request_repository(&pull_request)
            .ok_or_else(|| unresolved_pull_request(pull_request.as_str()))?;
        return Ok(Source::PullRequest {
            url: pull_request.to_string(),
            repository,
        });
    }
    let url = source.required("repository", repository)?;
    if repository_path(url).is_none() {
        return Err(source.invalid("repository", "Invalid repository URL"));
    }
    Ok(Source::Repository {
        url: url.to_owned(),
        git_ref,
    })
}

fn target(fields: &Fields<'_>) -> Result<Target, Refusal> {
    let Some(target) = fields.object("target")? else {
        return Ok(Target {
            auto_create_pr: false,
            open_as_app: false,
            skip_reviewer_request: false,
            branch_name: None,
            auto_branch: true,
        });
    };
    let flag = |name| target.boolean(name);
    let branch_name = target.string("branchName")?;
    if let Some(name) = branch_name.filter(|name| !is_branch_name(name)) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_branch_name",
            format!("Invalid branch name '{name}'"),
        ));
    }
    Ok(Target {
        auto_create_pr: flag("autoCreatePr")?.unwrap_or(false),
        open_as_app: flag("openAsCursorGithubApp")?.unwrap_or(false),
        skip_reviewer_request: flag("skipReviewerRequest")?.unwrap_or(false),
        branch_name: branch_name.map(str::to_owned),
        auto_branch: flag("autoBranch")?.unwrap_or(true),
    })
}

/// Whether git takes it: the rules of `git check-ref-format`, without its shorthands. That these are Cursor's rules is assumed.
fn is_branch_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let forbidden = |c: char| {
        c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    name.split('/').all(part)
        && !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
}

fn webhook(fields: &Fields<'_>) -> Result<Option<Webhook>, Refusal> {
    let Some(webhook) = fields.object("webhook")? else {
        return Ok(None);
    };
    webhook.short_string("url", MAX_WEBHOOK_URL_CHARACTERS)?;
    webhook.required("url", webhook.web_url("url")?)?;
    let url = webhook.required_string("url")?;
    match webhook.string("secret")? {
        Some(secret) if !WEBHOOK_SECRET_CHARACTERS.contains(&secret.chars().count()) => {
            Err(webhook.invalid("secret", "String must contain 32 to 256 characters"))
        }
        secret => Ok(Some(Webhook {
            url: url.to_owned(),
            secret: secret.map(str::to_owned),
        })),
    }
}
