//! Request bodies of Cursor v1, validated against the current documentation.
//!
//! Unknown members are ignored, also `branchName` and `autoGenerateBranch`, which only the API description of April 2026 has: v1 cannot choose a
//! branch. A repository needs `url` (current documentation), also when `prUrl` is given.

use std::collections::HashSet;

use http::StatusCode;
use serde_json::{Map, Value};

use crate::cursor::catalogue::check_model;
use crate::cursor::repository::{
    pull_request_repository, repository_path, unresolved_pull_request,
};
use crate::fields::{Fields, ImageForm};
use crate::http::Refusal;
use crate::script::Script;

const MAX_NAME_CHARACTERS: usize = 100;
/// Accepted since October 2026; the documentation says 20.
const MAX_REPOSITORIES: usize = 500;
const MAX_ENV_VARS: usize = 50;
const MAX_ENV_NAME_BYTES: usize = 255;
const MAX_ENV_VALUE_BYTES: usize = 4096;
const MAX_MCP_SERVERS: usize = 50;
const MAX_SUBAGENTS: usize = 20;

/// A valid `POST /v1/agents`.
#[derive(Debug)]
pub(super) struct CreateAgent {
    pub(super) prompt: String,
    pub(super) directive: Script,
    pub(super) agent_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) env: Env,
    pub(super) repositories: Vec<Repository>,
    pub(super) work_on_current_branch: bool,
    pub(super) auto_create_pr: bool,
    pub(super) skip_reviewer_request: Option<bool>,
    pub(super) open_as_app: Option<bool>,
    /// As they were given.
    pub(super) subagents: Option<Value>,
    pub(super) metadata: Option<Vec<(String, String)>>,
}

#[derive(Clone, Debug)]
pub(super) struct Env {
    pub(super) kind: String,
    pub(super) name: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Repository {
    pub(super) url: String,
    pub(super) starting_ref: Option<String>,
    pub(super) pr_url: Option<String>,
}

/// A valid `POST /v1/agents/{id}/runs`.
#[derive(Debug)]
pub(super) struct CreateRun {
    pub(super) prompt: String,
    pub(super) directive: Script,
}

impl CreateAgent {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let (prompt, directive) = prompt(&fields)?;
        model(&fields)?;
        let name = fields
            .short_string("name", MAX_NAME_CHARACTERS)?
            .map(str::to_owned);
        let env = env(&fields)?;
        let repositories = repositories(&fields)?;
        // A machine, and a pool that is not made for a repository, take one.
        if env.kind != "cloud" && repositories.len() > 1 {
            return Err(fields.invalid("repos", "A machine or a pool takes one repository"));
        }
        if env.name.is_some() && env.kind == "cloud" && !repositories.is_empty() {
            return Err(
                fields.invalid("repos", "Cannot be combined with a named cloud environment")
            );
        }
        let auto_create_pr = fields.boolean("autoCreatePR")?.unwrap_or(false);
        let work_on_current_branch = fields.boolean("workOnCurrentBranch")?.unwrap_or(false);
        let open_as_app = fields.boolean("openAsCursorGithubApp")?;
        fields.string("branchName")?;
        fields.boolean("autoGenerateBranch")?;
        let skip_reviewer_request = fields.boolean("skipReviewerRequest")?;
        fields.one_of("mode", &["agent", "plan"])?;
        env_vars(&fields, "envVars")?;
        env_vars(&fields, "runEnvVars")?;
        mcp_servers(&fields)?;
        subagents(&fields)?;
        let agent_id = agent_id(&fields)?;
        if agent_id.is_some() && fields.has("envVars") {
            return Err(fields.invalid("envVars", "Cannot be combined with agentId"));
        }
        let metadata = fields.strings("metadata")?.map(|pairs| {
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        });
        Ok(Self {
            prompt,
            directive,
            agent_id,
            name,
            env,
            repositories,
            work_on_current_branch,
            auto_create_pr,
            skip_reviewer_request,
            open_as_app,
            subagents: body.get("customSubagents").cloned(),
            metadata,
        })
    }
}

impl CreateRun {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let (prompt, directive) = prompt(&fields)?;
        model(&fields)?;
        fields.one_of("mode", &["agent", "plan"])?;
        env_vars(&fields, "envVars")?;
        mcp_servers(&fields)?;
        Ok(Self { prompt, directive })
    }
}

/// `POST /v1/sub-tokens`: for whom.
pub(super) fn sub_token_user(body: &Map<String, Value>) -> Result<String, Refusal> {
    let fields = Fields::root(body);
    match (fields.string("forUserEmail")?, fields.string("forUserId")?) {
        (Some(user), None) | (None, Some(user)) => Ok(user.to_owned()),
        (None, None) | (Some(_), Some(_)) => Err(Refusal::validation(
            "Provide exactly one of forUserEmail and forUserId",
        )),
    }
}

fn prompt(fields: &Fields<'_>) -> Result<(String, Script), Refusal> {
    let text = fields.prompt(ImageForm::TypedOrRemote)?;
    let directive =
        Script::from_prompt(text).map_err(|error| Refusal::validation(error.explain()))?;
    Ok((text.to_owned(), directive))
}

fn model(fields: &Fields<'_>) -> Result<(), Refusal> {
    let Some(model) = fields.object("model")? else {
        return Ok(());
    };
    let id = model.required_string("id")?;
    let mut params = Vec::new();
    for param in model.objects("params", usize::MAX)?.unwrap_or_default() {
        params.push((
            param.required_string("id")?,
            param.required_string("value")?,
        ));
    }
    check_model(id, &params)
        .map_err(|problem| Refusal::new(StatusCode::BAD_REQUEST, "invalid_model", problem))
}

fn env(fields: &Fields<'_>) -> Result<Env, Refusal> {
    let Some(env) = fields.object("env")? else {
        return Ok(Env {
            kind: "cloud".to_owned(),
            name: None,
        });
    };
    let kind = env.required("type", env.one_of("type", &["cloud", "pool", "machine"])?)?;
    let name = env.string("name")?;
    // The account has the pool `default` alone.
    if kind == "pool" && name.is_some_and(|name| name != "default") {
        return Err(env.invalid("name", "Unknown pool"));
    }
    Ok(Env {
        kind: kind.to_owned(),
        name: name.map(str::to_owned),
    })
}

fn repositories(fields: &Fields<'_>) -> Result<Vec<Repository>, Refusal> {
    let mut repositories = Vec::new();
    for item in fields
        .objects("repos", MAX_REPOSITORIES)?
        .unwrap_or_default()
    {
        let url = item.required_string("url")?;
        if repository_path(url).is_none() {
            return Err(item.invalid("url", "Invalid repository URL"));
        }
        let pr_url = item.web_url("prUrl")?;
        if let Some(pr_url) = &pr_url
            && pull_request_repository(pr_url).is_none()
        {
            return Err(unresolved_pull_request(pr_url.as_str()));
        }
        repositories.push(Repository {
            url: url.to_owned(),
            starting_ref: item.string("startingRef")?.map(str::to_owned),
            pr_url: pr_url.map(|url| url.to_string()),
        });
    }
    Ok(repositories)
}

fn env_vars(fields: &Fields<'_>, member: &str) -> Result<(), Refusal> {
    let variables = fields.strings(member)?.unwrap_or_default();
    if variables.len() > MAX_ENV_VARS {
        return Err(fields.invalid(member, format_args!("At most {MAX_ENV_VARS} variables")));
    }
    for (name, value) in variables {
        if name.is_empty() || name.len() > MAX_ENV_NAME_BYTES {
            return Err(fields.invalid(
                member,
                format_args!("Names have 1 to {MAX_ENV_NAME_BYTES} bytes"),
            ));
        }
        if name.starts_with("CURSOR_") {
            return Err(fields.invalid(member, "Names must not start with CURSOR_"));
        }
        if value.len() > MAX_ENV_VALUE_BYTES {
            return Err(fields.invalid(
                member,
                format_args!("Values have at most {MAX_ENV_VALUE_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

fn mcp_servers(fields: &Fields<'_>) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for server in fields
        .objects("mcpServers", MAX_MCP_SERVERS)?
        .unwrap_or_default()
    {
        if !names.insert(server.required_string("name")?) {
            return Err(server.invalid("name", "Names must be unique"));
        }
        server.one_of("type", &["http", "sse", "stdio"])?;
        match (server.string("command")?, server.web_url("url")?) {
            (Some(_), None) | (None, Some(_)) => {}
            (None, None) | (Some(_), Some(_)) => {
                return Err(server.invalid("url", "Provide either url or command"));
            }
        }
        server.string_items("args")?;
        server.strings("env")?;
        server.strings("headers")?;
        if let Some(auth) = server.object("auth")? {
            auth.required_string("CLIENT_ID")?;
            auth.string("CLIENT_SECRET")?;
            auth.string_items("scopes")?;
        }
    }
    Ok(())
}

fn subagents(fields: &Fields<'_>) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for subagent in fields
        .objects("customSubagents", MAX_SUBAGENTS)?
        .unwrap_or_default()
    {
        if !names.insert(subagent.required_string("name")?) {
            return Err(subagent.invalid("name", "Names must be unique"));
        }
        subagent.required_string("description")?;
        subagent.required_string("prompt")?;
    }
    Ok(())
}

fn agent_id(fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    let Some(id) = fields.string("agentId")? else {
        return Ok(None);
    };
    let uuid = id.strip_prefix("bc-").filter(|uuid| uuid.len() == 36);
    if uuid
        .and_then(|uuid| uuid::Uuid::try_parse(uuid).ok())
        .is_none()
    {
        return Err(fields.invalid("agentId", "Must match bc-<uuid>"));
    }
    // Ids are kept in lower case, however they are written.
    Ok(Some(id.to_ascii_lowercase()))
}
