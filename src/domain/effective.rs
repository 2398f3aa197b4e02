//! What agent and session together come to: settings resolved leaf by leaf, and what speaks against them.

use std::borrow::Cow;

use super::blocker::{Blocker, Cause};
use super::mapping::Mapping;
use super::marker::Marker;
use super::parameters;
use super::pull_request::{PullRequestUrl, StartingPoint};
use super::remote::{Capability, ProviderCapabilities, unsupported_message};
use super::repository::same_repository;
use crate::api::{
    AUTO_MODEL, CodeAgentSpec, CodeSessionSpec, Credentials, Effective, EffectiveProvider,
    EnvironmentSource, ImageSource, MessageSpec, ModelSpec, PullRequestOverride, PullRequestSpec,
    Reason, RepositorySpec,
};

/// Which Secret a session takes its credentials from; none where its CodeAgent has none.
pub fn credentials<'a>(
    session: &'a CodeSessionSpec,
    agent: &'a CodeAgentSpec,
) -> Option<&'a Credentials> {
    session.credentials.as_ref().or(agent.credentials.as_ref())
}

/// Stands for the session's name in the name of a branch, so that the sessions of one CodeAgent get a branch each.
const SESSION_PLACEHOLDER: &str = "{session}";

/// The longest name of a branch that the status can hold.
const MAX_BRANCH: usize = 255;

/// The branch that a session pushes to, where that is settled before it starts; an empty name is the repository's default branch.
/// Two sessions on one branch would overwrite each other's work. The branch of a pull request is named by its number: what it is
/// called is known to nobody here.
pub fn pushed_branch(effective: &Effective) -> Option<Cow<'_, str>> {
    let wanted = &effective.pull_request;
    if !wanted.work_on_current_branch {
        return wanted.branch_name.as_deref().map(Cow::Borrowed);
    }
    let url = effective.pull_request_url.as_deref();
    Some(match url.and_then(PullRequestUrl::parse) {
        Some(url) => Cow::Owned(url.head_ref()),
        None => Cow::Borrowed(effective.reference.as_deref().unwrap_or_default()),
    })
}

/// Where a session starts.
///
/// # Errors
/// If the address of its pull request cannot be read, with that address.
pub fn starting_point(effective: &Effective) -> Result<StartingPoint, &str> {
    StartingPoint::new(
        effective.reference.as_deref(),
        effective.pull_request_url.as_deref(),
    )
}

/// The repository and starting point that agent and session come to. The session's starting point takes the place of the agent's,
/// whatever it is; another repository has other branches, so that the agent's holds for the agent's repository only. A pull request
/// names its repository by itself.
pub fn repository(own: Option<&RepositorySpec>, agent: Option<&RepositorySpec>) -> RepositorySpec {
    let own = own.cloned().unwrap_or_default();
    let agent = agent.cloned().unwrap_or_default();
    let own_start = own.reference.is_some() || own.pull_request_url.is_some();
    let (reference, pull_request_url) = if own_start {
        (own.reference, own.pull_request_url)
    } else if own.url.is_some() {
        (None, None)
    } else {
        (agent.reference, agent.pull_request_url)
    };
    let named = || {
        let url = PullRequestUrl::parse(pull_request_url.as_deref()?)?;
        Some(url.repository().to_owned())
    };
    RepositorySpec {
        url: own.url.or(agent.url).or_else(named),
        reference,
        pull_request_url,
    }
}

/// What agent and session come to for branch and pull request. `branchName` and `workOnCurrentBranch` exclude each other, so that a
/// session that sets one of them leaves the agent's other.
fn pull_request(name: &str, own: PullRequestOverride, agent: &PullRequestSpec) -> PullRequestSpec {
    let own_current = own.work_on_current_branch == Some(true);
    let agents_branch = agent.branch_name.clone().filter(|_| !own_current);
    let agents_current = agent.work_on_current_branch && own.branch_name.is_none();
    PullRequestSpec {
        auto_create: own.auto_create.unwrap_or(agent.auto_create),
        work_on_current_branch: own.work_on_current_branch.unwrap_or(agents_current),
        skip_reviewer_request: own
            .skip_reviewer_request
            .unwrap_or(agent.skip_reviewer_request),
        branch_name: own
            .branch_name
            .or(agents_branch)
            .map(|branch| branch.replace(SESSION_PLACEHOLDER, name)),
    }
}

/// The Secrets of the environment, the agent's before the session's. One that both name stands where it counts: last.
pub fn env_from(session: &CodeSessionSpec, agent: &CodeAgentSpec) -> Vec<String> {
    let sources = [agent.env_from.as_ref(), session.env_from.as_ref()];
    let mut names: Vec<String> = Vec::new();
    for EnvironmentSource { secret_ref } in sources.into_iter().flatten().flatten() {
        names.retain(|name| *name != secret_ref.name);
        names.push(secret_ref.name.clone());
    }
    names
}

/// Resolves the settings of the session of this name. `endpoint` is the base URL that will be used.
pub fn resolve(
    name: &str,
    session: &CodeSessionSpec,
    agent: &CodeAgentSpec,
    agent_generation: i64,
    endpoint: &str,
) -> Effective {
    let repository = repository(session.repository.as_ref(), agent.repository.as_ref());
    let mut model = agent.model.clone();
    if let Some(own) = &session.model {
        if let Some(id) = &own.id
            && *id != model.id
        {
            // The agent's parameters belong to the agent's model.
            model = ModelSpec {
                id: id.clone(),
                params: Default::default(),
            };
        }
        model.params.extend(own.params.clone());
    }
    let defaults = &agent.session_defaults;
    Effective {
        provider: EffectiveProvider {
            spec: agent.provider.clone(),
            endpoint: endpoint.to_owned(),
        },
        credentials_ref: credentials(session, agent).map(|found| (&found.secret_ref).into()),
        repository: repository.url,
        reference: repository.reference,
        pull_request_url: repository.pull_request_url,
        model,
        pull_request: pull_request(
            name,
            session.pull_request.clone().unwrap_or_default(),
            &agent.pull_request,
        ),
        parameters: parameters::resolve(session, agent),
        env_from: env_from(session, agent),
        active_deadline_seconds: session
            .active_deadline_seconds
            .unwrap_or(defaults.active_deadline_seconds),
        launch_deadline_seconds: session
            .launch_deadline_seconds
            .or(defaults.launch_deadline_seconds),
        ttl_seconds_after_finished: session
            .ttl_seconds_after_finished
            .or(defaults.ttl_seconds_after_finished),
        deletion_policy: session.deletion_policy.unwrap_or(defaults.deletion_policy),
        on_unknown_launch: session
            .on_unknown_launch
            .unwrap_or(defaults.on_unknown_launch),
        agent_generation,
    }
}

/// What speaks against launching, from the manifests alone: nothing has been read or sent yet.
///
/// `asked` is the agent's provider, `installed` are the providers of this installation, which a refusal names as alternatives.
pub fn blocker(
    session: &CodeSessionSpec,
    agent: &CodeAgentSpec,
    effective: &Effective,
    asked: &ProviderCapabilities,
    installed: &[ProviderCapabilities],
) -> Option<Blocker> {
    // What cannot be read says nothing of what can be done.
    misfit(agent)
        .or_else(|| missing_capability(session, agent, effective, asked, installed))
        .or_else(|| useless_credentials(session, agent))
        .or_else(|| branch_too_long(effective))
        .or_else(|| wrong_pull_request(session, effective))
        .or_else(|| parameters::blocker(session, agent))
        .or_else(|| {
            let needed = asked.can(Capability::Repository) && effective.repository.is_none();
            needed.then(|| Blocker {
                reason: Reason::RepositoryMissing,
                message: "neither the CodeAgent nor the session names a repository: set spec.repository.url of the CodeAgent".into(),
                cause: Cause::Environment,
            })
        })
}

/// Credentials of a session whose CodeAgent has none, since nobody is there to show them to.
fn useless_credentials(session: &CodeSessionSpec, agent: &CodeAgentSpec) -> Option<Blocker> {
    let useless = session.credentials.is_some() && agent.credentials.is_none();
    useless.then(|| Blocker {
        reason: Reason::InvalidRequest,
        message: "spec.credentials of the session has no use, because its CodeAgent is a job agent and has no provider's key: create a CodeSession without it".into(),
        cause: Cause::Spec,
    })
}

fn branch_too_long(effective: &Effective) -> Option<Blocker> {
    let branch = effective.pull_request.branch_name.as_deref()?;
    (branch.chars().count() > MAX_BRANCH).then(|| Blocker {
        reason: Reason::InvalidRequest,
        message: format!(
            "with this session's name the branch of spec.pullRequest.branchName is longer than {MAX_BRANCH} characters: create a CodeSession with a shorter name"
        ),
        cause: Cause::Spec,
    })
}

/// A pull request of another repository than the one that is named, or something that is no pull request.
fn wrong_pull_request(session: &CodeSessionSpec, effective: &Effective) -> Option<Blocker> {
    let own = session.repository.as_ref();
    let of_session = own.is_some_and(|own| own.pull_request_url.is_some());
    let (whose, cause) = match of_session {
        true => ("session", Cause::Spec),
        false => ("CodeAgent", Cause::Environment),
    };
    let refuse = |message| {
        Some(Blocker {
            reason: Reason::InvalidRequest,
            message,
            cause,
        })
    };
    let url = match starting_point(effective) {
        Ok(StartingPoint::PullRequest(url)) => url,
        Ok(StartingPoint::DefaultBranch | StartingPoint::Reference(_)) => return None,
        Err(text) => {
            return refuse(format!(
                "spec.repository.pullRequestURL of the {whose} is not the address of a pull request, as https://github.com/acme/app/pull/42 is one: {text}"
            ));
        }
    };
    let repository = effective.repository.as_deref().unwrap_or_default();
    if same_repository(url.repository(), repository) {
        return None;
    }
    let advice = if own.is_some_and(|own| own.url.is_some()) {
        "create a CodeSession in which both are of one repository, or without spec.repository.url"
    } else if of_session {
        "if that is meant, create a CodeSession that names the repository of the pull request as its spec.repository.url"
    } else {
        "remove spec.repository.url of the CodeAgent, or correct it"
    };
    refuse(format!(
        "spec.repository.pullRequestURL of the {whose} is a pull request of {}, and spec.repository.url is {repository}: {advice}",
        url.repository(),
    ))
}

/// What speaks against launching where the provider must be told where to start, and nobody tells it.
pub fn reference_missing(
    session: &CodeSessionSpec,
    effective: &Effective,
    provider: &str,
) -> Option<Blocker> {
    if effective.reference.is_some() {
        return None;
    }
    let own_repository = session
        .repository
        .as_ref()
        .is_some_and(|own| own.url.is_some());
    let (advice, cause) = if own_repository {
        (
            "create a CodeSession that names spec.repository.ref beside its spec.repository.url",
            Cause::Spec,
        )
    } else {
        (
            "set spec.repository.ref of the CodeAgent",
            Cause::Environment,
        )
    };
    Some(Blocker {
        reason: Reason::RepositoryMissing,
        message: format!(
            "{provider} must be told the branch, tag or commit to start from: {advice}"
        ),
        cause,
    })
}

/// What speaks against sending a follow-up message, from the manifest alone. `asked` and `installed` as in [`blocker`].
pub fn message_blocker(
    message: &MessageSpec,
    asked: &ProviderCapabilities,
    installed: &[ProviderCapabilities],
) -> Option<Blocker> {
    let refuse = |needs| {
        Some(Blocker {
            reason: Reason::CapabilityMissing,
            message: format!(
                "{}: create a CodeSession on another CodeAgent",
                unsupported_message(asked, needs, installed)
            ),
            cause: Cause::Spec,
        })
    };
    let wanted = [
        (Capability::FollowUp, true),
        (Capability::Images, has_images(message.images.as_ref())),
        (
            Capability::ImageUrls,
            has_image_urls(message.images.as_ref()),
        ),
        (Capability::MessageModel, message.model.is_some()),
    ];
    let (unmet, _) = wanted
        .into_iter()
        .find(|(needs, wanted)| *wanted && !asked.can(*needs))?;
    refuse(unmet)
}

fn has_images(images: Option<&Vec<ImageSource>>) -> bool {
    images.is_some_and(|images| !images.is_empty())
}

fn has_image_urls(images: Option<&Vec<ImageSource>>) -> bool {
    images.is_some_and(|images| images.iter().any(|image| image.url.is_some()))
}

/// Something that was asked for, and by whom.
struct Requirement {
    wanted: bool,
    needs: Capability,
    /// Whether the session itself asks for it; otherwise its CodeAgent does.
    of_session: bool,
    field: &'static str,
}

/// `onBehalfOf` is not among these: it is forwarded where the provider knows attribution, and a courtesy elsewhere.
fn requirements(
    session: &CodeSessionSpec,
    agent: &CodeAgentSpec,
    effective: &Effective,
) -> [Requirement; 15] {
    let own = session.pull_request.clone().unwrap_or_default();
    let own_model = session.model.clone().unwrap_or_default();
    let pull_request = &effective.pull_request;
    let requires = |field, needs, wanted, of_session| Requirement {
        wanted,
        needs,
        of_session,
        field,
    };
    let has_prompt = session.prompt.is_some() || session.prompt_from.is_some();
    let images = session.images.as_ref();
    let has_messages = session
        .messages
        .as_ref()
        .is_some_and(|messages| !messages.is_empty());
    let has_preamble = agent
        .preamble
        .as_deref()
        .is_some_and(|text| !text.trim().is_empty());
    [
        requires("prompt", Capability::Prompt, has_prompt, true),
        requires("issue", Capability::Issue, session.issue.is_some(), true),
        requires("images", Capability::Images, has_images(images), true),
        requires(
            "images[].url",
            Capability::ImageUrls,
            has_image_urls(images),
            true,
        ),
        requires(
            "envFrom",
            Capability::Environment,
            !effective.env_from.is_empty(),
            session.env_from.as_ref().is_some_and(|own| !own.is_empty()),
        ),
        requires("messages", Capability::FollowUp, has_messages, true),
        // It is put before a prompt, and an issue is none.
        requires("preamble", Capability::Prompt, has_preamble, false),
        requires(
            "model.id",
            Capability::Model,
            effective.model.id != AUTO_MODEL,
            own_model.id.is_some(),
        ),
        requires(
            "model.params",
            Capability::ModelParameters,
            !effective.model.params.is_empty(),
            !own_model.params.is_empty(),
        ),
        requires(
            "repository.pullRequestURL",
            Capability::FromPullRequest,
            effective.pull_request_url.is_some(),
            session
                .repository
                .as_ref()
                .is_some_and(|own| own.pull_request_url.is_some()),
        ),
        requires(
            "repository",
            Capability::Repository,
            effective.repository.is_some() || effective.reference.is_some(),
            session.repository.is_some(),
        ),
        requires(
            "pullRequest.branchName",
            Capability::BranchName,
            pull_request.branch_name.is_some(),
            own.branch_name.is_some(),
        ),
        requires(
            "pullRequest.workOnCurrentBranch",
            match effective.pull_request_url {
                Some(_) => Capability::WorkOnPullRequest,
                None => Capability::WorkOnCurrentBranch,
            },
            pull_request.work_on_current_branch,
            own.work_on_current_branch.is_some(),
        ),
        requires(
            "pullRequest.skipReviewerRequest",
            Capability::SkipReviewerRequest,
            pull_request.skip_reviewer_request,
            own.skip_reviewer_request.is_some(),
        ),
        // A pull request is the default, so that only its absence was asked for.
        requires(
            "pullRequest.autoCreate",
            Capability::AutoCreatePullRequest,
            !pull_request.auto_create,
            own.auto_create.is_some(),
        ),
    ]
}

/// What is wrong with the mapping of an HTTP service.
fn misfit(agent: &CodeAgentSpec) -> Option<Blocker> {
    let misfit = Mapping::new(agent.provider.http.as_ref()?).err()?;
    Some(Blocker {
        reason: Reason::InvalidMapping,
        message: format!("spec.provider.http.{misfit}: correct the CodeAgent"),
        cause: Cause::Environment,
    })
}

fn missing_capability(
    session: &CodeSessionSpec,
    agent: &CodeAgentSpec,
    effective: &Effective,
    asked: &ProviderCapabilities,
    installed: &[ProviderCapabilities],
) -> Option<Blocker> {
    let unmet = requirements(session, agent, effective)
        .into_iter()
        .find(|wish| wish.wanted && !asked.can(wish.needs))?;
    let (whose, cause) = if unmet.of_session {
        ("session", Cause::Spec)
    } else {
        ("CodeAgent", Cause::Environment)
    };
    let advice = match (cause, unmet.needs) {
        (Cause::Environment, _) => "remove it from the CodeAgent, or change its provider",
        (Cause::Spec, Capability::Prompt) => {
            "create a CodeSession with spec.issue instead, or on another CodeAgent"
        }
        (Cause::Spec, Capability::Issue) => {
            "create a CodeSession with spec.prompt instead, or on another CodeAgent"
        }
        (Cause::Spec, _) => "create a CodeSession without it, or on another CodeAgent",
    };
    Some(Blocker {
        reason: Reason::CapabilityMissing,
        message: format!(
            "spec.{} of the {whose}: {}: {advice}",
            unmet.field,
            unsupported_message(asked, unmet.needs, installed)
        ),
        cause,
    })
}

/// Composes what is sent: preamble and prompt with the values of the parameters filled in, and the marker line. `of_prompt` tells
/// whose mistake the prompt is: the session's own, which never changes, or that of a source, which can be mended.
///
/// # Errors
/// If preamble or prompt cannot be filled in, or then contain what could be taken for a marker: a session could be taken for
/// another's.
pub fn compose_prompt(
    preamble: Option<&str>,
    prompt: &str,
    of_prompt: Cause,
    values: &parameters::Values,
    marker: &Marker,
) -> Result<String, Blocker> {
    let unfillable = |what: &str, cause| {
        let begin = format!("the {what} ");
        move |why: parameters::Unfillable| Blocker {
            reason: Reason::InvalidParameters,
            message: format!("{begin}{why}"),
            cause,
        }
    };
    let refuse = |what: &str, cause| Blocker {
        reason: Reason::MarkerInPrompt,
        message: format!(
            "the {what} contains a line that begins like the marker by which this operator recognises its sessions (<!-- codeagents.dev/…): remove that line"
        ),
        cause,
    };
    const PREAMBLE: &str = "preamble of the CodeAgent";
    let prompt = parameters::fill(prompt, values).map_err(unfillable("prompt", of_prompt))?;
    if Marker::looks_marked(&prompt) {
        return Err(refuse("prompt", of_prompt));
    }
    let preamble = preamble
        .map(|text| parameters::fill(text, values))
        .transpose();
    let preamble = preamble.map_err(unfillable(PREAMBLE, Cause::Environment))?;
    let preamble = preamble.as_deref().map(str::trim);
    let preamble = preamble.filter(|text| !text.is_empty());
    if preamble.is_some_and(Marker::looks_marked) {
        return Err(refuse(PREAMBLE, Cause::Environment));
    }
    let prompt = prompt.trim_end();
    Ok(match preamble {
        Some(preamble) => format!("{preamble}\n\n{prompt}\n\n{marker}"),
        None => format!("{prompt}\n\n{marker}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::api::ProviderKind;

    /// Can do whatever a field can ask for, except for working on an issue.
    const ABLE: [Capability; 13] = [
        Capability::Environment,
        Capability::Prompt,
        Capability::Images,
        Capability::ImageUrls,
        Capability::Model,
        Capability::ModelParameters,
        Capability::Repository,
        Capability::FromPullRequest,
        Capability::BranchName,
        Capability::WorkOnCurrentBranch,
        Capability::WorkOnPullRequest,
        Capability::AutoCreatePullRequest,
        Capability::SkipReviewerRequest,
    ];

    fn able() -> ProviderCapabilities {
        ProviderCapabilities {
            kind: ProviderKind::Cursor,
            variant: None,
            capabilities: ABLE.into(),
        }
    }

    /// Works on issues, and on nothing else.
    fn issues() -> ProviderCapabilities {
        ProviderCapabilities {
            kind: ProviderKind::Firetiger,
            variant: None,
            capabilities: [Capability::Issue].into(),
        }
    }

    /// What is said to a session and a CodeAgent with these fields.
    fn said(session: Value, agent: Value, asked: &ProviderCapabilities) -> Option<Blocker> {
        let mut spec = json!({"agentRef": {"name": "a"}});
        merge(&mut spec, session);
        let mut agent_spec = json!({
            "provider": {"firetiger": {"codingAgentId": "cursor-prod"}},
            "credentials": {"secretRef": {"name": "s"}},
        });
        merge(&mut agent_spec, agent);
        let session: CodeSessionSpec = serde_json::from_value(spec).unwrap();
        let agent: CodeAgentSpec = serde_json::from_value(agent_spec).unwrap();
        let effective = resolve("fix", &session, &agent, 1, "https://provider.example.com");
        blocker(&session, &agent, &effective, asked, &[able(), issues()])
    }

    fn merge(into: &mut Value, more: Value) {
        let more = more.as_object().unwrap().clone();
        into.as_object_mut().unwrap().extend(more);
    }

    #[test]
    fn a_refusal_names_the_field_whose_it_is_who_can_and_what_to_do() {
        let of_session = said(
            json!({"issue": "issues/FT-42", "model": {"id": "m"}}),
            json!({}),
            &issues(),
        );
        assert_eq!(
            of_session,
            Some(Blocker {
                reason: Reason::CapabilityMissing,
                message: "spec.model.id of the session: Firetiger cannot choose a model; Cursor can: create a CodeSession without it, or on another CodeAgent".to_owned(),
                cause: Cause::Spec,
            })
        );
        let of_agent = said(
            json!({"issue": "issues/FT-42"}),
            json!({"model": {"id": "m"}}),
            &issues(),
        );
        assert_eq!(
            of_agent,
            Some(Blocker {
                reason: Reason::CapabilityMissing,
                message: "spec.model.id of the CodeAgent: Firetiger cannot choose a model; Cursor can: remove it from the CodeAgent, or change its provider".to_owned(),
                cause: Cause::Environment,
            })
        );
    }

    /// Of a name that stands in several the last counts, so that a Secret that both name stands where the session names it.
    #[test]
    fn the_secrets_of_the_agent_come_before_those_of_the_session() {
        let secrets = |names: &[&str]| -> Value {
            let names = names.iter();
            names
                .map(|name| json!({"secretRef": {"name": name}}))
                .collect()
        };
        for (agent, own, expected) in [
            (json!({}), json!({}), &[][..]),
            (json!({"envFrom": []}), json!({"envFrom": []}), &[]),
            (
                json!({"envFrom": secrets(&["a", "b"])}),
                json!({}),
                &["a", "b"],
            ),
            (json!({}), json!({"envFrom": secrets(&["c"])}), &["c"]),
            (
                json!({"envFrom": secrets(&["a", "b"])}),
                json!({"envFrom": secrets(&["c", "a"])}),
                &["b", "c", "a"],
            ),
        ] {
            assert_eq!(of("fix", own, agent).env_from, expected);
        }
    }

    #[test]
    fn every_field_that_needs_a_capability_is_refused_without_it() {
        let url = "https://github.com/acme/app";
        for (field, of_session, of_agent) in [
            (
                "model.id",
                json!({"model": {"id": "m"}}),
                json!({"model": {"id": "m"}}),
            ),
            (
                "model.params",
                json!({"model": {"params": {"fast": "true"}}}),
                json!({"model": {"params": {"fast": "true"}}}),
            ),
            (
                "envFrom",
                json!({"envFrom": [{"secretRef": {"name": "staging"}}]}),
                json!({"envFrom": [{"secretRef": {"name": "staging"}}]}),
            ),
            (
                "repository",
                json!({"repository": {"url": url}}),
                json!({"repository": {"url": url}}),
            ),
            (
                "repository",
                json!({"repository": {"ref": "main"}}),
                json!({"repository": {"ref": "main"}}),
            ),
            (
                "repository.pullRequestURL",
                json!({"repository": {"pullRequestURL": "https://github.com/acme/app/pull/42"}}),
                json!({"repository": {"pullRequestURL": "https://github.com/acme/app/pull/42"}}),
            ),
            (
                "pullRequest.branchName",
                json!({"pullRequest": {"branchName": "b"}}),
                json!({"pullRequest": {"branchName": "b"}}),
            ),
            (
                "pullRequest.workOnCurrentBranch",
                json!({"pullRequest": {"workOnCurrentBranch": true}}),
                json!({"pullRequest": {"workOnCurrentBranch": true}}),
            ),
            (
                "pullRequest.skipReviewerRequest",
                json!({"pullRequest": {"skipReviewerRequest": true}}),
                json!({"pullRequest": {"skipReviewerRequest": true}}),
            ),
            (
                "pullRequest.autoCreate",
                json!({"pullRequest": {"autoCreate": false}}),
                json!({"pullRequest": {"autoCreate": false}}),
            ),
        ] {
            for (whose, cause, session, agent) in [
                ("session", Cause::Spec, of_session, json!({})),
                ("CodeAgent", Cause::Environment, json!({}), of_agent),
            ] {
                let on_issue = |mut spec: Value| {
                    merge(&mut spec, json!({"issue": "issues/FT-42"}));
                    spec
                };
                let refused = said(on_issue(session.clone()), agent.clone(), &issues()).unwrap();
                assert_eq!(
                    (refused.reason, refused.cause),
                    (Reason::CapabilityMissing, cause)
                );
                let begin = format!("spec.{field} of the {whose}: Firetiger cannot ");
                assert!(refused.message.starts_with(&begin), "{}", refused.message);
                // Whoever can do it does not refuse it.
                let mut on_prompt = json!({"prompt": "Fix it"});
                merge(&mut on_prompt, session);
                let mut with_repository = json!({"repository": {"url": url}});
                merge(&mut with_repository, agent);
                let answer = said(on_prompt, with_repository, &able());
                assert!(answer.is_none_or(|other| other.reason == Reason::RepositoryMissing));
            }
        }
    }

    /// What a session of this name and a CodeAgent with these fields come to.
    fn of(name: &str, session: Value, agent: Value) -> Effective {
        let mut spec = json!({"agentRef": {"name": "a"}, "prompt": "Fix it"});
        merge(&mut spec, session);
        let mut agent_spec =
            json!({"provider": {"cursor": {}}, "credentials": {"secretRef": {"name": "s"}}});
        merge(&mut agent_spec, agent);
        let agent: CodeAgentSpec = serde_json::from_value(agent_spec).unwrap();
        let spec = serde_json::from_value(spec).unwrap();
        resolve(name, &spec, &agent, 1, "https://p")
    }

    #[test]
    fn images_are_refused_where_none_are_taken_and_urls_where_none_are_read() {
        let picture = json!([{"configMapKeyRef": {"name": "shots", "key": "a.png"}}]);
        let at_url = json!([{"url": "https://acme.com/a.png"}]);
        let content_only = ProviderCapabilities {
            capabilities: [Capability::Prompt, Capability::FollowUp, Capability::Images].into(),
            ..able()
        };
        let none = ProviderCapabilities {
            capabilities: [Capability::Prompt, Capability::FollowUp].into(),
            ..able()
        };
        let all = ProviderCapabilities {
            capabilities: Capability::ALL.into(),
            ..able()
        };
        for (images, asked, refused) in [
            (&picture, &none, Some("take images")),
            (&at_url, &none, Some("take images")),
            (&json!([]), &none, None),
            (&picture, &content_only, None),
            (&at_url, &content_only, Some("read images from a URL")),
            (&picture, &all, None),
            (&at_url, &all, None),
        ] {
            let of_session = said(
                json!({"prompt": "Fix it", "images": images}),
                json!({"pullRequest": {"autoCreate": true}}),
                asked,
            );
            let message = json!({"name": "more", "prompt": "Look", "images": images});
            let message: MessageSpec = serde_json::from_value(message).unwrap();
            let of_message = message_blocker(&message, asked, &[able(), issues()]);
            for blocker in [of_session, of_message] {
                let blocker = blocker.filter(|it| it.reason == Reason::CapabilityMissing);
                let told = |ability| {
                    let blocker = blocker.as_ref()?;
                    let said = blocker.message.contains(&format!("cannot {ability}"));
                    Some((blocker.cause, said))
                };
                match refused {
                    Some(ability) => {
                        assert_eq!(told(ability), Some((Cause::Spec, true)), "{images}")
                    }
                    None => assert_eq!(blocker, None, "{images}"),
                }
            }
        }
    }

    #[test]
    fn the_sessions_name_stands_in_for_its_placeholder() {
        let url = json!({"url": "https://github.com/acme/app"});
        let agent = json!({"repository": url, "pullRequest": {"branchName": "agent/{session}"}});
        let effective = of("fix-login", json!({}), agent.clone());
        assert_eq!(
            pushed_branch(&effective).as_deref(),
            Some("agent/fix-login")
        );
        let own = json!({"pullRequest": {"branchName": "mine"}});
        let effective = of("fix", own, agent.clone());
        assert_eq!(pushed_branch(&effective).as_deref(), Some("mine"));
        // 253 characters are allowed for the name of an object.
        let effective = of(&"n".repeat(253), json!({}), agent);
        let found = branch_too_long(&effective).unwrap();
        assert_eq!(
            (found.reason, found.cause),
            (Reason::InvalidRequest, Cause::Spec)
        );
        // The starting branch, or the repository's default one.
        let current = json!({"repository": url, "pullRequest": {"workOnCurrentBranch": true}});
        let effective = of("fix", json!({}), current.clone());
        assert_eq!(pushed_branch(&effective).as_deref(), Some(""));
        let main = json!({"repository": {"ref": "main"}});
        let effective = of("fix", main, current);
        assert_eq!(pushed_branch(&effective).as_deref(), Some("main"));
        // The provider's own choice is another one for each session.
        assert_eq!(
            pushed_branch(&of("fix", json!({}), json!({"repository": url}))),
            None
        );
    }

    #[test]
    fn a_prompt_and_an_issue_are_not_the_same() {
        let refused = said(json!({"prompt": "Fix it"}), json!({}), &issues()).unwrap();
        assert_eq!(
            refused.message,
            "spec.prompt of the session: Firetiger cannot work on a prompt; Cursor can: create a CodeSession with spec.issue instead, or on another CodeAgent"
        );
        let refused = said(json!({"issue": "issues/FT-42"}), json!({}), &able()).unwrap();
        assert_eq!(
            refused.message,
            "spec.issue of the session: Cursor cannot work on an issue; Firetiger can: create a CodeSession with spec.prompt instead, or on another CodeAgent"
        );
        // A preamble would be dropped silently.
        let preamble = json!({"preamble": "Write tests"});
        let refused = said(json!({"issue": "issues/FT-42"}), preamble, &issues()).unwrap();
        assert_eq!(refused.cause, Cause::Environment);
        assert!(
            refused
                .message
                .starts_with("spec.preamble of the CodeAgent: ")
        );
    }

    #[test]
    fn a_session_on_an_issue_with_nothing_else_is_fine_and_so_is_attribution() {
        for behalf in [json!({}), json!({"onBehalfOf": "jane@acme.com"})] {
            let mut session = json!({"issue": "issues/FT-42"});
            merge(&mut session, behalf);
            assert_eq!(said(session, json!({}), &issues()), None);
        }
    }

    #[test]
    fn a_session_may_switch_off_what_its_agent_asks_for_in_vain() {
        let session =
            json!({"issue": "issues/FT-42", "pullRequest": {"skipReviewerRequest": false}});
        let agent = json!({"pullRequest": {"skipReviewerRequest": true}});
        assert_eq!(said(session, agent, &issues()), None);
    }

    const PULL_REQUEST: &str = "https://github.com/acme/app/pull/42";

    #[test]
    fn a_session_starts_where_it_says_itself_and_else_where_its_agent_says() {
        let app = "https://github.com/acme/app";
        let web = "https://github.com/acme/web";
        let another = "https://github.com/acme/app/pull/43";
        for (own, agent, url, reference, pull_request) in [
            // A pull request names its repository.
            (
                json!({"pullRequestURL": PULL_REQUEST}),
                json!({}),
                Some(app),
                None,
                Some(PULL_REQUEST),
            ),
            (
                json!({}),
                json!({"pullRequestURL": PULL_REQUEST}),
                Some(app),
                None,
                Some(PULL_REQUEST),
            ),
            // One starting point takes the place of the other.
            (
                json!({"pullRequestURL": PULL_REQUEST}),
                json!({"url": app, "ref": "main"}),
                Some(app),
                None,
                Some(PULL_REQUEST),
            ),
            (
                json!({"ref": "dev"}),
                json!({"pullRequestURL": PULL_REQUEST}),
                None,
                Some("dev"),
                None,
            ),
            (
                json!({"ref": "dev"}),
                json!({"url": app, "pullRequestURL": PULL_REQUEST}),
                Some(app),
                Some("dev"),
                None,
            ),
            (
                json!({"pullRequestURL": another}),
                json!({"url": app, "pullRequestURL": PULL_REQUEST}),
                Some(app),
                None,
                Some(another),
            ),
            // Another repository has other pull requests.
            (
                json!({"url": web}),
                json!({"url": app, "pullRequestURL": PULL_REQUEST}),
                Some(web),
                None,
                None,
            ),
            (
                json!({"url": web}),
                json!({"url": app, "ref": "main"}),
                Some(web),
                None,
                None,
            ),
        ] {
            let case = format!("{own} of {agent}");
            let effective = of(
                "fix",
                json!({"repository": own}),
                json!({"repository": agent}),
            );
            assert_eq!(effective.repository.as_deref(), url, "{case}");
            assert_eq!(effective.reference.as_deref(), reference, "{case}");
            assert_eq!(
                effective.pull_request_url.as_deref(),
                pull_request,
                "{case}"
            );
        }
    }

    #[test]
    fn a_pull_request_of_another_repository_is_refused_where_it_stands() {
        let agent = json!({"repository": {"url": "https://github.com/acme/web"}});
        let own = |repository: Value| json!({"prompt": "Fix it", "repository": repository});
        let refused = said(
            own(json!({"pullRequestURL": PULL_REQUEST})),
            agent.clone(),
            &able(),
        );
        let refused = refused.unwrap();
        assert_eq!(
            (refused.reason, refused.cause),
            (Reason::InvalidRequest, Cause::Spec)
        );
        assert_eq!(
            refused.message,
            "spec.repository.pullRequestURL of the session is a pull request of https://github.com/acme/app, and spec.repository.url is https://github.com/acme/web: if that is meant, create a CodeSession that names the repository of the pull request as its spec.repository.url"
        );
        for url in [
            "https://github.com/Acme/App.git",
            "https://github.com/acme/app/",
        ] {
            let both = json!({"url": url, "pullRequestURL": PULL_REQUEST});
            assert_eq!(said(own(both), agent.clone(), &able()), None, "{url}");
        }
        let both = json!({"url": "https://github.com/acme/cli", "pullRequestURL": PULL_REQUEST});
        assert_eq!(
            said(own(both.clone()), json!({}), &able()).unwrap().cause,
            Cause::Spec
        );
        let of_agent = said(
            json!({"prompt": "Fix it"}),
            json!({"repository": both}),
            &able(),
        );
        assert_eq!(of_agent.unwrap().cause, Cause::Environment);
        // What the API server would refuse today may have been stored by another version.
        let odd = said(
            own(json!({"pullRequestURL": "acme/app#42"})),
            json!({}),
            &able(),
        );
        let odd = odd.unwrap();
        assert_eq!(
            (odd.reason, odd.cause),
            (Reason::InvalidRequest, Cause::Spec)
        );
    }

    #[test]
    fn sessions_that_push_to_one_pull_request_push_to_one_branch() {
        let current = json!({"repository": {"pullRequestURL": PULL_REQUEST}, "pullRequest": {"workOnCurrentBranch": true}});
        let effective = of("fix", json!({}), current.clone());
        assert_eq!(
            pushed_branch(&effective).as_deref(),
            Some("refs/pull/42/head")
        );
        let own = json!({"repository": {"pullRequestURL": "https://github.com/acme/app/pull/43"}});
        let effective = of("fix", own, current);
        assert_eq!(
            pushed_branch(&effective).as_deref(),
            Some("refs/pull/43/head")
        );
        // A branch of its own is another one for each session.
        let effective = of(
            "fix",
            json!({}),
            json!({"repository": {"pullRequestURL": PULL_REQUEST}}),
        );
        assert_eq!(pushed_branch(&effective), None);
    }

    #[test]
    fn a_session_that_sets_its_branch_leaves_what_its_agent_says_of_it() {
        let named = json!({"pullRequest": {"branchName": "agent/{session}"}});
        let current = json!({"pullRequest": {"workOnCurrentBranch": true}});
        for (own, agent, branch, works_on_current) in [
            (&current, &named, None, true),
            (&named, &current, Some("agent/fix"), false),
            (
                &json!({"pullRequest": {"workOnCurrentBranch": false}}),
                &named,
                Some("agent/fix"),
                false,
            ),
            (
                &json!({"pullRequest": {"autoCreate": false}}),
                &current,
                None,
                true,
            ),
            (&json!({}), &named, Some("agent/fix"), false),
        ] {
            let found = of("fix", own.clone(), agent.clone()).pull_request;
            assert_eq!(found.branch_name.as_deref(), branch, "{own} of {agent}");
            assert_eq!(
                found.work_on_current_branch, works_on_current,
                "{own} of {agent}"
            );
        }
    }

    /// Cursor's older API pushes to no branch that is there already, but for a pull request's.
    #[test]
    fn pushing_to_a_pull_request_is_another_ability_than_pushing_to_a_branch() {
        let mut older = able();
        older.capabilities.remove(&Capability::WorkOnCurrentBranch);
        let session = |repository: Value| json!({"prompt": "Fix it", "repository": repository, "pullRequest": {"workOnCurrentBranch": true}});
        let from_branch = session(json!({"url": "https://github.com/acme/app", "ref": "main"}));
        let refused = said(from_branch, json!({}), &older).unwrap();
        assert_eq!(refused.reason, Reason::CapabilityMissing);
        let from_pull_request = session(json!({"pullRequestURL": PULL_REQUEST}));
        assert_eq!(said(from_pull_request, json!({}), &older), None);
    }

    /// A value could bring a marker along, or make one of what the text has.
    #[test]
    fn what_is_sent_is_checked_for_markers_after_it_was_filled_in() {
        let marker = Marker::launch(super::super::ids::InstallationId::new("0a1b2c3d"), "uid", 1);
        let compose = |preamble: &str, prompt: &str, value: &str| {
            let values = [("a".to_owned(), value.to_owned())].into();
            compose_prompt(Some(preamble), prompt, Cause::Spec, &values, &marker)
        };
        let line = marker.to_string();
        let sent = compose("Be {{ .params.a }}.", "Fix {{ .params.a }}", "brief").unwrap();
        assert_eq!(sent, format!("Be brief.\n\nFix brief\n\n{line}"));
        for (preamble, prompt, cause) in [
            ("Be brief", "Fix\n{{ .params.a }}", Cause::Spec),
            ("Be\n{{ .params.a }}", "Fix it", Cause::Environment),
        ] {
            let refused = compose(preamble, prompt, &line).unwrap_err();
            assert_eq!(
                (refused.reason, refused.cause),
                (Reason::MarkerInPrompt, cause)
            );
        }
        for (preamble, prompt, words, cause) in [
            (
                "Be brief",
                "Fix {{ .params.b }}",
                "the prompt names the parameter b",
                Cause::Spec,
            ),
            (
                "{{ .params.b }}",
                "Fix it",
                "the preamble of the CodeAgent names the parameter b",
                Cause::Environment,
            ),
        ] {
            let refused = compose(preamble, prompt, "").unwrap_err();
            assert_eq!(
                (refused.reason, refused.cause),
                (Reason::InvalidParameters, cause)
            );
            assert!(refused.message.starts_with(words), "{}", refused.message);
        }
    }
}
