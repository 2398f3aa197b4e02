//! What the provider or this installation cannot do is refused before anything is sent: what stands in the CodeAgent can be
//! mended there, what stands in the session ends it.

use codeagent_operator::api::{Reason, condition};
use codeagent_simulator::Provider as SimulatedProvider;
use serde_json::{Value, json};

use crate::world::{FIREBENDER_KEY, Setup, World, agent, agent_is, secret, session};

const FIREBENDER: &str = "provider: {firebender: {}}, credentials: {secretRef: {name: firebender}}";

/// Something that is asked for in vain.
struct Wish {
    name: &'static str,
    agent: String,
    session: &'static str,
    reason: Reason,
    words: &'static str,
    /// What mends it; `None` where it stands in the session.
    mend: Option<Value>,
}

async fn check(world: &World, wishes: &[Wish]) {
    for wish in wishes {
        world.apply(&agent(wish.name, &wish.agent)).await;
        world.apply(&session(wish.name, wish.session)).await;
    }
    for wish in wishes {
        match wish.mend {
            Some(_) => world.stalled(wish.name, wish.reason, wish.words).await,
            None => world.failed(wish.name, wish.reason, wish.words).await,
        };
    }
    assert_eq!(world.posts().len(), 0, "something was sent");
    for wish in wishes {
        if let Some(mend) = &wish.mend {
            world.apply(mend).await;
        }
    }
    for wish in wishes.iter().filter(|wish| wish.mend.is_some()) {
        world.finished(wish.name).await;
    }
    let mended = wishes.iter().filter(|wish| wish.mend.is_some()).count();
    assert_eq!(world.posts().len(), mended);
}

#[tokio::test]
async fn what_the_provider_cannot_do_is_told_before_anything_is_sent() {
    const CURSOR: &str = "{}";
    let firebender = |more: &str| format!("{{{FIREBENDER}{more}}}");
    let of_agent = |name, agent_fields: String, words, mend: String| Wish {
        name,
        agent: agent_fields,
        session: "{}",
        reason: Reason::CapabilityMissing,
        words,
        mend: Some(agent(name, &mend)),
    };
    let of_session = |name, agent_fields: String, session, words| Wish {
        name,
        agent: agent_fields,
        session,
        reason: Reason::CapabilityMissing,
        words,
        mend: None,
    };
    let world = World::start("capabilities").await;
    check(
        &world,
        &[
            of_agent(
                "agent-branch",
                "{pullRequest: {branchName: fix/login}}".to_owned(),
                "spec.pullRequest.branchName of the CodeAgent: Cursor (apiVersion: v1) cannot choose the name of the branch; Cursor (apiVersion: v0) and Firebender can",
                CURSOR.to_owned(),
            ),
            of_agent(
                "agent-reviewer",
                firebender(", pullRequest: {skipReviewerRequest: true}"),
                "spec.pullRequest.skipReviewerRequest of the CodeAgent: Firebender cannot leave reviewers unasked; Cursor and Flapjack can",
                firebender(""),
            ),
            of_agent(
                "agent-current",
                firebender(", pullRequest: {workOnCurrentBranch: true}"),
                "spec.pullRequest.workOnCurrentBranch of the CodeAgent",
                firebender(""),
            ),
            of_agent(
                "agent-params",
                firebender(", model: {id: a, params: {fast: 'true'}}"),
                "spec.model.params of the CodeAgent",
                firebender(""),
            ),
            // Another provider mends it as well.
            of_agent(
                "agent-switched",
                "{pullRequest: {branchName: fix/login}}".to_owned(),
                "remove it from the CodeAgent, or change its provider",
                firebender(", pullRequest: {branchName: fix/login}"),
            ),
            of_agent(
                "agent-pull-request",
                firebender(", repository: {pullRequestURL: 'https://github.com/acme/app/pull/42'}"),
                "spec.repository.pullRequestURL of the CodeAgent: Firebender cannot start from a pull request; Cursor can: remove it from the CodeAgent, or change its provider",
                "{repository: {pullRequestURL: 'https://github.com/acme/app/pull/42'}}".to_owned(),
            ),
            of_session(
                "own-pull-request",
                firebender(""),
                "{repository: {pullRequestURL: 'https://github.com/acme/app/pull/42'}}",
                "spec.repository.pullRequestURL of the session: Firebender cannot start from a pull request; Cursor can",
            ),
            of_session(
                "own-branch",
                CURSOR.to_owned(),
                "{pullRequest: {branchName: fix/login}}",
                "spec.pullRequest.branchName of the session: Cursor (apiVersion: v1) cannot",
            ),
            of_session(
                "own-reviewer",
                firebender(""),
                "{pullRequest: {skipReviewerRequest: true}}",
                "spec.pullRequest.skipReviewerRequest of the session",
            ),
            of_session(
                "own-current",
                firebender(""),
                "{pullRequest: {workOnCurrentBranch: true}}",
                "spec.pullRequest.workOnCurrentBranch of the session",
            ),
            of_session(
                "own-images",
                "{provider: {flapjack: {orgId: org-1}}, credentials: {secretRef: {name: flapjack}}}".to_owned(),
                "{images: [{configMapKeyRef: {name: nowhere, key: a.png}}]}",
                "spec.images of the session: Flapjack cannot take images; Cursor and Firebender can: create a CodeSession without it",
            ),
            of_session(
                "own-image-url",
                firebender(""),
                "{images: [{url: 'https://acme.com/a.png'}]}",
                "spec.images[].url of the session: Firebender cannot read images from a URL; Cursor (apiVersion: v1) can",
            ),
            of_session(
                "own-environment",
                firebender(""),
                "{envFrom: [{secretRef: {name: nowhere}}]}",
                "spec.envFrom of the session: Firebender cannot give the agent environment variables; Cursor (apiVersion: v1) can: create a CodeSession without it",
            ),
            of_agent(
                "agent-environment",
                "{provider: {cursor: {apiVersion: v0}}, envFrom: [{secretRef: {name: nowhere}}]}".to_owned(),
                "spec.envFrom of the CodeAgent: Cursor (apiVersion: v0) cannot give the agent environment variables; Cursor (apiVersion: v1) can: remove it from the CodeAgent, or change its provider",
                "{envFrom: []}".to_owned(),
            ),
            of_session(
                "own-params",
                firebender(""),
                "{model: {params: {fast: 'true'}}}",
                "spec.model.params of the session",
            ),
            of_session(
                "own-issue",
                CURSOR.to_owned(),
                "{prompt: null, issue: issues/FT-42}",
                "spec.issue of the session: Cursor cannot work on an issue; Firetiger can: create a CodeSession with spec.prompt instead",
            ),
            of_session(
                "own-prompt",
                "{provider: {firetiger: {codingAgentId: cursor-prod}}}".to_owned(),
                "{}",
                "spec.prompt of the session: Firetiger cannot work on a prompt; Cursor, Firebender and Flapjack can: create a CodeSession with spec.issue instead",
            ),
        ],
    )
    .await;
    // A session may switch off what its agent asks for in vain.
    world
        .apply(&agent(
            "off",
            &firebender(", pullRequest: {skipReviewerRequest: true}"),
        ))
        .await;
    world
        .apply(&session(
            "off",
            "{pullRequest: {skipReviewerRequest: false}}",
        ))
        .await;
    world.finished("off").await;
    world.end().await;
}

#[tokio::test]
async fn what_is_empty_asks_for_nothing() {
    let world = World::start("empty").await;
    world.apply(&agent("empty", "{}")).await;
    world
        .apply(&session("empty", "{images: [], messages: []}"))
        .await;
    world.finished("empty").await;
    world.end().await;
}

#[tokio::test]
async fn a_provider_that_this_installation_does_not_run_is_named() {
    let setup = Setup {
        flags: vec!["--providers=cursor".to_owned()],
        ..Setup::default()
    };
    let world = World::start_with("disabled", setup).await;
    let disabled = |name, fields: &str| Wish {
        name,
        agent: fields.to_owned(),
        session: "{}",
        reason: Reason::ProviderDisabled,
        words: "enable it (--providers) or use another CodeAgent",
        mend: Some(agent(name, "{}")),
    };
    let wishes = [
        disabled("firebender", &format!("{{{FIREBENDER}}}")),
        disabled("flapjack", "{provider: {flapjack: {orgId: org-1}}}"),
        disabled(
            "firetiger",
            "{provider: {firetiger: {codingAgentId: cursor-prod}}}",
        ),
    ];
    for (wish, words) in wishes.iter().zip([
        "does not run Firebender: enable it (--providers; now: cursor), or use another provider",
        "does not run Flapjack: enable it",
        "does not run Firetiger: enable it",
    ]) {
        world.apply(&agent(wish.name, &wish.agent)).await;
        let stalled = |agent: &_| agent_is(agent, "Stalled", "True", Reason::ProviderDisabled);
        let agent = world.until_agent(wish.name, "stalled", stalled).await;
        assert!(agent_is(&agent, "Ready", "False", Reason::ProviderDisabled));
        let conditions = agent.status.unwrap().conditions;
        let ready = condition(&conditions, "Ready").unwrap();
        assert!(ready.message.contains(words), "{}", ready.message);
    }
    check(&world, &wishes).await;
    for provider in [
        SimulatedProvider::Firebender,
        SimulatedProvider::Flapjack,
        SimulatedProvider::Firetiger,
    ] {
        let connections = world.simulator.connections(provider);
        assert_eq!(connections, 0, "{provider:?} was talked to");
    }
    world.end().await;
}

#[tokio::test]
async fn only_the_providers_that_are_switched_on_are_talked_to() {
    let setup = Setup {
        flags: vec!["--providers=firebender".to_owned()],
        ..Setup::default()
    };
    let world = World::start_with("switched-off", setup).await;
    let to_firebender = agent("cursor", &format!("{{{FIREBENDER}}}"));
    check(
        &world,
        &[Wish {
            name: "cursor",
            agent: "{}".to_owned(),
            session: "{}",
            reason: Reason::ProviderDisabled,
            words: "enable it (--providers) or use another CodeAgent",
            mend: Some(to_firebender),
        }],
    )
    .await;
    let connections = world.simulator.connections(SimulatedProvider::Cursor);
    assert_eq!(connections, 0, "Cursor was talked to");
    world.end().await;
}

#[tokio::test]
async fn a_line_that_looks_like_our_marker_is_never_sent() {
    const LINE: &str = "<!-- codeagents.dev/0123abcd/6b0f3c1e-0000-4000-8000-000000000000/1 -->";
    let world = World::start("marker").await;
    let map = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "text"}, "data": {"task": text}});
    world.apply(&map(&format!("Fix the bug\n{LINE}"))).await;
    let own = Box::leak(format!("{{prompt: \"Fix the bug\\n{LINE}\\nplease\"}}").into_boxed_str());
    let of = |name, agent: String, session, words, mend| Wish {
        name,
        agent,
        session,
        reason: Reason::MarkerInPrompt,
        words,
        mend,
    };
    check(
        &world,
        &[
            of(
                "prompt",
                "{}".to_owned(),
                own,
                "the prompt contains a line that begins like the marker",
                None,
            ),
            of(
                "preamble",
                format!("{{preamble: \"Be brief\\n{LINE}\"}}"),
                "{}",
                "the preamble of the CodeAgent contains a line",
                Some(agent("preamble", "{preamble: Be brief}")),
            ),
            // A source may change, unlike the session's own prompt.
            of(
                "source",
                "{}".to_owned(),
                "{prompt: null, promptFrom: {configMapKeyRef: {name: text, key: task}}}",
                "contains a line that begins like the marker",
                Some(map("Fix the bug")),
            ),
        ],
    )
    .await;
    world.end().await;
}

/// Firebender names no default for the place to start from.
#[tokio::test]
async fn a_provider_that_must_be_told_where_to_start_is_not_asked_without_it() {
    let world = World::start("reference").await;
    let nowhere = format!("{{{FIREBENDER}, repository: {{url: 'https://github.com/acme/app'}}}}");
    let of = |name, session, words, mend| Wish {
        name,
        agent: nowhere.clone(),
        session,
        reason: Reason::RepositoryMissing,
        words,
        mend,
    };
    check(
        &world,
        &[
            of(
                "agent",
                "{}",
                "set spec.repository.ref of the CodeAgent",
                Some(agent("agent", &format!("{{{FIREBENDER}}}"))),
            ),
            // The agent's ref belongs to the agent's repository.
            of(
                "session",
                "{repository: {url: 'https://github.com/acme/web'}}",
                "create a CodeSession that names spec.repository.ref",
                None,
            ),
        ],
    )
    .await;
    world.apply(&agent("own", &nowhere)).await;
    world
        .apply(&session("own", "{repository: {ref: main}}"))
        .await;
    world.finished("own").await;
    // Cursor starts from the default branch.
    world
        .apply(&agent(
            "cursor",
            "{repository: {url: 'https://github.com/acme/app'}}",
        ))
        .await;
    world.apply(&session("cursor", "{}")).await;
    world.finished("cursor").await;
    world.end().await;
}

/// A session may bring credentials of its own, also where the agent's are useless.
#[tokio::test]
async fn credentials_of_the_sessions_own_are_used_instead_of_the_agents() {
    let world = World::start("own-credentials").await;
    world.apply(&secret("mine", FIREBENDER_KEY)).await;
    world
        .apply(&agent(
            "a",
            "{provider: {firebender: {}}, credentials: {secretRef: {name: nowhere}}}",
        ))
        .await;
    world
        .apply(&session("a", "{credentials: {secretRef: {name: mine}}}"))
        .await;
    let finished = world.finished("a").await;
    let effective = finished.status.unwrap().effective.unwrap();
    assert_eq!(effective.credentials_ref.unwrap().name, "mine");
    world.end().await;
}
