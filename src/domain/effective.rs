//! What agent and session together come to: settings resolved leaf by leaf, and what speaks against them.

use super::blocker::{Blocker, Cause};
use super::marker::Marker;
use super::remote::{Capability, ProviderCapabilities, unsupported_message};
use crate::api::{
    AUTO_MODEL, CodeAgentSpec, CodeSessionSpec, Credentials, Effective, EffectiveProvider,
    ImageSource, MessageSpec, ModelSpec, PullRequestSpec, Reason,
};

/// Which Secret a session takes its credentials from.
pub fn credentials<'a>(session: &'a CodeSessionSpec, agent: &'a CodeAgentSpec) -> &'a Credentials {
    session.credentials.as_ref().unwrap_or(&agent.credentials)
}

/// Stands for the session's name in the name of a branch, so that the sessions of one CodeAgent get a branch each.
const SESSION_PLACEHOLDER: &str = "{session}";

/// The longest name of a branch that the status can hold.
const MAX_BRANCH: usize = 255;

/// The branch that a session pushes to, where that is settled before it starts; an empty name is the repository's default branch.
/// Two sessions on one branch would overwrite each other's work.
pub fn pushed_branch(effective: &Effective) -> Option<&str> {
    let wanted = &effective.pull_request;
    let current = wanted
        .work_on_current_branch
        .then(|| effective.reference.as_deref().unwrap_or_default());
    current.or(wanted.branch_name.as_deref())
}

/// Resolves the settings of the session of this name. `endpoint` is the base URL that will be used.
pub fn resolve(
    name: &str,
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
        credentials_ref: secret.into(),
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
                .or_else(|| agent.pull_request.branch_name.clone())
                .map(|branch| branch.replace(SESSION_PLACEHOLDER, name)),
        },
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
    not_supported_yet(session)
        .or_else(|| missing_capability(session, agent, effective, asked, installed))
        .or_else(|| branch_too_long(effective))
        .or_else(|| {
            let needed = asked.can(Capability::Repository) && effective.repository.is_none();
            needed.then(|| Blocker {
                reason: Reason::RepositoryMissing,
                message: "neither the CodeAgent nor the session names a repository: set spec.repository.url of the CodeAgent".into(),
                cause: Cause::Environment,
            })
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

/// A field whose behaviour is still to come. It is refused rather than ignored.
fn not_supported_yet(session: &CodeSessionSpec) -> Option<Blocker> {
    session.webhook.as_ref().map(|_| Blocker {
        reason: Reason::NotSupportedYet,
        message: "spec.webhook is not supported by this version of the operator: remove it"
            .to_owned(),
        cause: Cause::Environment,
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
) -> [Requirement; 13] {
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
            Capability::WorkOnCurrentBranch,
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

/// Composes what is sent: preamble, prompt, marker line. `of_prompt` tells whose mistake the prompt is: the session's own, which
/// never changes, or that of a source, which can be mended.
///
/// # Errors
/// If preamble or prompt contain what could be taken for a marker: a session could be taken for another's.
pub fn compose_prompt(
    preamble: Option<&str>,
    prompt: &str,
    of_prompt: Cause,
    marker: &Marker,
) -> Result<String, Blocker> {
    let refuse = |what: &str, cause| Blocker {
        reason: Reason::MarkerInPrompt,
        message: format!(
            "the {what} contains a line that begins like the marker by which this operator recognises its sessions (<!-- codeagents.dev/…): remove that line"
        ),
        cause,
    };
    if Marker::looks_marked(prompt) {
        return Err(refuse("prompt", of_prompt));
    }
    let preamble = preamble.map(str::trim).filter(|text| !text.is_empty());
    if preamble.is_some_and(Marker::looks_marked) {
        return Err(refuse("preamble of the CodeAgent", Cause::Environment));
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
    const ABLE: [Capability; 10] = [
        Capability::Prompt,
        Capability::Images,
        Capability::ImageUrls,
        Capability::Model,
        Capability::ModelParameters,
        Capability::Repository,
        Capability::BranchName,
        Capability::WorkOnCurrentBranch,
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
        let of = |name: &str, session: Value, agent: Value| {
            let mut spec = json!({"agentRef": {"name": "a"}, "prompt": "Fix it"});
            merge(&mut spec, session);
            let mut agent_spec =
                json!({"provider": {"cursor": {}}, "credentials": {"secretRef": {"name": "s"}}});
            merge(&mut agent_spec, agent);
            let agent: CodeAgentSpec = serde_json::from_value(agent_spec).unwrap();
            resolve(
                name,
                &serde_json::from_value(spec).unwrap(),
                &agent,
                1,
                "https://p",
            )
        };
        let url = json!({"url": "https://github.com/acme/app"});
        let agent = json!({"repository": url, "pullRequest": {"branchName": "agent/{session}"}});
        let effective = of("fix-login", json!({}), agent.clone());
        assert_eq!(pushed_branch(&effective), Some("agent/fix-login"));
        let own = json!({"pullRequest": {"branchName": "mine"}});
        assert_eq!(pushed_branch(&of("fix", own, agent.clone())), Some("mine"));
        // 253 characters are allowed for the name of an object.
        let effective = of(&"n".repeat(253), json!({}), agent);
        let found = branch_too_long(&effective).unwrap();
        assert_eq!(
            (found.reason, found.cause),
            (Reason::InvalidRequest, Cause::Spec)
        );
        // The starting branch, or the repository's default one.
        let current = json!({"repository": url, "pullRequest": {"workOnCurrentBranch": true}});
        assert_eq!(
            pushed_branch(&of("fix", json!({}), current.clone())),
            Some("")
        );
        let main = json!({"repository": {"ref": "main"}});
        assert_eq!(pushed_branch(&of("fix", main, current)), Some("main"));
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
}
