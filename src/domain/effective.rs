//! What agent and session together come to: settings resolved leaf by leaf, and what speaks against them.

use std::collections::BTreeSet;

use super::ids::InstallationId;
use super::marker::Marker;
use super::remote::Capability;
use crate::api::{
    AUTO_MODEL, CodeAgentSpec, CodeSessionSpec, Credentials, Effective, EffectiveProvider,
    KeyReference, ModelSpec, PullRequestSpec, Reason,
};

/// Something that keeps a session from being launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Why, as one word.
    pub reason: Reason,
    /// Why, for the person who applied the manifest, and what to do.
    pub message: String,
    /// Whose mistake it is.
    pub fault: Fault,
}

/// Whose mistake something is: decides whether the session can still be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The session's own fields, which never change: it ends.
    Session,
    /// The CodeAgent, a Secret, the account: the session waits until it is mended.
    Surroundings,
}

/// Which Secret a session takes its credentials from.
pub fn credentials<'a>(session: &'a CodeSessionSpec, agent: &'a CodeAgentSpec) -> &'a Credentials {
    session.credentials.as_ref().unwrap_or(&agent.credentials)
}

/// Resolves the settings of a session. `endpoint` is the base URL that will be used.
pub fn resolve(
    session: &CodeSessionSpec,
    agent: &CodeAgentSpec,
    agent_generation: i64,
    endpoint: &str,
) -> Effective {
    let secret = &credentials(session, agent).secret_ref;
    let repository = session.repository.as_ref();
    let template = agent.repository.as_ref();
    // Another repository has other branches: the agent's ref holds for the agent's repository only.
    let own_url = repository.and_then(|own| own.url.clone());
    let reference = repository
        .and_then(|own| own.reference.clone())
        .or_else(|| match own_url {
            Some(_) => None,
            None => template.and_then(|of_agent| of_agent.reference.clone()),
        });
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
    let own = session.pull_request.clone().unwrap_or_default();
    let defaults = &agent.session_defaults;
    Effective {
        provider: EffectiveProvider {
            spec: agent.provider.clone(),
            endpoint: endpoint.to_owned(),
        },
        credentials_ref: KeyReference {
            name: secret.name.clone(),
            key: secret.key.clone(),
        },
        repository: own_url.or_else(|| template.and_then(|of_agent| of_agent.url.clone())),
        reference,
        model,
        pull_request: PullRequestSpec {
            auto_create: own.auto_create.unwrap_or(agent.pull_request.auto_create),
            work_on_current_branch: own
                .work_on_current_branch
                .unwrap_or(agent.pull_request.work_on_current_branch),
            skip_reviewer_request: own
                .skip_reviewer_request
                .unwrap_or(agent.pull_request.skip_reviewer_request),
            branch_name: own
                .branch_name
                .or_else(|| agent.pull_request.branch_name.clone()),
        },
        active_deadline_seconds: session
            .active_deadline_seconds
            .unwrap_or(defaults.active_deadline_seconds),
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
pub fn objection(
    session: &CodeSessionSpec,
    effective: &Effective,
    capabilities: &BTreeSet<Capability>,
    provider: &str,
) -> Option<Objection> {
    not_supported_yet(session).or_else(|| missing_capability(session, effective, capabilities, provider)).or_else(|| {
        let needed = capabilities.contains(&Capability::Repository) && effective.repository.is_none();
        needed.then(|| Objection {
            reason: Reason::RepositoryMissing,
            message: "neither the CodeAgent nor the session names a repository: set spec.repository.url of the CodeAgent".into(),
            fault: Fault::Surroundings,
        })
    })
}

/// What speaks against launching where the provider must be told where to start, and nobody tells it.
pub fn reference_missing(
    session: &CodeSessionSpec,
    effective: &Effective,
    provider: &str,
) -> Option<Objection> {
    if effective.reference.is_some() {
        return None;
    }
    let own_repository = session
        .repository
        .as_ref()
        .is_some_and(|own| own.url.is_some());
    let (advice, fault) = if own_repository {
        (
            "create a CodeSession that names spec.repository.ref beside its spec.repository.url",
            Fault::Session,
        )
    } else {
        (
            "set spec.repository.ref of the CodeAgent",
            Fault::Surroundings,
        )
    };
    Some(Objection {
        reason: Reason::RepositoryMissing,
        message: format!(
            "{provider} must be told the branch, tag or commit to start from: {advice}"
        ),
        fault,
    })
}

/// Fields whose behaviour is still to come. They are refused rather than ignored.
fn not_supported_yet(session: &CodeSessionSpec) -> Option<Objection> {
    let refuse = |field: &str, fault| {
        Some(Objection {
            reason: Reason::NotSupportedYet,
            message: format!(
                "spec.{field} is not supported by this version of the operator: {}",
                match fault {
                    Fault::Session => "create a CodeSession without it",
                    Fault::Surroundings => "remove it",
                }
            ),
            fault,
        })
    };
    if session
        .images
        .as_ref()
        .is_some_and(|images| !images.is_empty())
    {
        refuse("images", Fault::Session)
    } else if session
        .messages
        .as_ref()
        .is_some_and(|messages| !messages.is_empty())
    {
        refuse("messages", Fault::Session)
    } else if session.webhook.is_some() {
        refuse("webhook", Fault::Surroundings)
    } else {
        None
    }
}

/// `onBehalfOf` is not among these: it is forwarded where the provider knows attribution, and a courtesy elsewhere.
fn missing_capability(
    session: &CodeSessionSpec,
    effective: &Effective,
    capabilities: &BTreeSet<Capability>,
    provider: &str,
) -> Option<Objection> {
    let own = session.pull_request.clone().unwrap_or_default();
    let own_model = session.model.clone().unwrap_or_default();
    let pull_request = &effective.pull_request;
    let wants: [(bool, Capability, bool, &str); 10] = [
        (
            session.prompt.is_some() || session.prompt_from.is_some(),
            Capability::Prompt,
            true,
            "prompt",
        ),
        (session.issue.is_some(), Capability::Issue, true, "issue"),
        (
            effective.model.id != AUTO_MODEL,
            Capability::Model,
            own_model.id.is_some(),
            "model.id",
        ),
        (
            !effective.model.params.is_empty(),
            Capability::ModelParameters,
            !own_model.params.is_empty(),
            "model.params",
        ),
        (
            effective.repository.is_some(),
            Capability::Repository,
            session.repository.is_some(),
            "repository",
        ),
        (
            pull_request.branch_name.is_some(),
            Capability::BranchName,
            own.branch_name.is_some(),
            "pullRequest.branchName",
        ),
        (
            pull_request.work_on_current_branch,
            Capability::WorkOnCurrentBranch,
            own.work_on_current_branch.is_some(),
            "pullRequest.workOnCurrentBranch",
        ),
        (
            pull_request.skip_reviewer_request,
            Capability::SkipReviewerRequest,
            own.skip_reviewer_request.is_some(),
            "pullRequest.skipReviewerRequest",
        ),
        (
            !pull_request.auto_create && own.auto_create.is_some(),
            Capability::AutoCreatePullRequest,
            true,
            "pullRequest.autoCreate",
        ),
        (
            session
                .images
                .as_ref()
                .is_some_and(|images| !images.is_empty()),
            Capability::Images,
            true,
            "images",
        ),
    ];
    wants.into_iter().find(|(wanted, capability, _, _)| *wanted && !capabilities.contains(capability)).map(
        |(_, capability, of_session, field)| {
            let (whose, fault, advice) = if of_session {
                ("session", Fault::Session, "create a CodeSession without it, or on a CodeAgent whose provider can do it")
            } else {
                ("CodeAgent", Fault::Surroundings, "remove it from the CodeAgent, or use a provider that can do it")
            };
            Objection {
                reason: Reason::CapabilityMissing,
                message: format!(
                    "spec.{field} of the {whose} needs the capability {}, which {provider} does not have: {advice}",
                    capability.as_str()
                ),
                fault,
            }
        },
    )
}

/// Composes what is sent: preamble, prompt, marker line. `of_prompt` tells whose mistake the prompt is: the session's own, which
/// never changes, or that of a source, which can be mended.
///
/// # Errors
/// If preamble or prompt contain what could be taken for a marker: a session could be taken for another's.
pub fn compose_prompt(
    preamble: Option<&str>,
    prompt: &str,
    of_prompt: Fault,
    installation: &InstallationId,
    uid: &str,
    attempt: i32,
) -> Result<String, Objection> {
    let refuse = |what: &str, fault| Objection {
        reason: Reason::MarkerInPrompt,
        message: format!(
            "the {what} contains a line that begins like the marker by which this operator recognises its sessions (<!-- codeagents.dev/…): remove that line"
        ),
        fault,
    };
    if Marker::looks_marked(prompt) {
        return Err(refuse("prompt", of_prompt));
    }
    let preamble = preamble.map(str::trim).filter(|text| !text.is_empty());
    if preamble.is_some_and(Marker::looks_marked) {
        return Err(refuse("preamble of the CodeAgent", Fault::Surroundings));
    }
    let marker = Marker::launch(installation.clone(), uid, attempt);
    let prompt = prompt.trim_end();
    Ok(match preamble {
        Some(preamble) => format!("{preamble}\n\n{prompt}\n\n{marker}"),
        None => format!("{prompt}\n\n{marker}"),
    })
}
