//! What is not there: the session says what is missing, nothing is sent, and it goes on by itself once it is there.

use codeagent_operator::api::Reason;
use serde_json::{Value, json};

use crate::world::{CURSOR_KEY, World, agent, agent_is, secret, session};

struct Case {
    name: &'static str,
    /// What there is.
    given: Vec<Value>,
    session: &'static str,
    reason: Reason,
    words: &'static str,
    /// Whether the CodeAgent is to blame, too.
    agent_stalls: bool,
    /// What was missing.
    mend: Value,
}

/// A world with what there is of all cases, and their sessions.
async fn with_all(name: &str, cases: &[Case]) -> World {
    let world = World::start(name).await;
    for case in cases {
        for object in &case.given {
            world.apply(object).await;
        }
        world.apply(&session(case.name, case.session)).await;
    }
    world
}

/// Nothing was sent so far; once all is there each session is sent once and finishes.
async fn mended(world: World, cases: &[Case]) {
    assert_eq!(
        world.posts().len(),
        0,
        "something was sent before everything was there"
    );
    for case in cases {
        world.apply(&case.mend).await;
    }
    for case in cases {
        world.finished(case.name).await;
    }
    assert_eq!(world.posts().len(), cases.len());
    world.end().await;
}

fn agent_with(name: &str, secret: &str) -> Value {
    agent(
        name,
        &format!("{{credentials: {{secretRef: {{name: {secret}}}}}}}"),
    )
}

fn prompt_secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {"codeagents.dev/prompt": "true"}},
        "stringData": {"api-key": "Fix the bug"},
    })
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// 1 × 1 pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn images_map(name: &str, key: &str, encoded: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": {key: encoded}})
}

fn images_secret(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels},
        "data": {"a.png": PNG},
    })
}

/// An image that is not there, or is none, is named with its place, and nothing is claimed.
#[tokio::test]
async fn an_image_that_cannot_be_sent_is_named_and_once_it_can_the_session_goes_on() {
    const FROM_MAP: &str = "{images: [{configMapKeyRef: {name: NAME, key: a.png}}]}";
    let from_map = |name: &str| &*FROM_MAP.replace("NAME", name).leak();
    let from_secret = |name: &str| {
        &*format!("{{images: [{{secretKeyRef: {{name: {name}, key: a.png}}}}]}}").leak()
    };
    let labelled = |labels: Value| images_secret("plain", labels);
    let prompt = json!({"codeagents.dev/prompt": "true"});
    let of = |name, given: Option<Value>, session, reason, words, mend| Case {
        name,
        given: std::iter::once(agent(name, "{}")).chain(given).collect(),
        session,
        reason,
        words,
        agent_stalls: false,
        mend,
    };
    let unavailable = Reason::ImageUnavailable;
    let cases = [
        of(
            "map",
            None,
            from_map("later"),
            unavailable,
            "there is no ConfigMap later",
            images_map("later", "a.png", PNG),
        ),
        of(
            "key",
            Some(images_map("keyless", "b.png", PNG)),
            from_map("keyless"),
            unavailable,
            "the ConfigMap keyless has no key a.png, which spec.images[0] names: add it",
            images_map("keyless", "a.png", PNG),
        ),
        of(
            "type",
            // "%PDF-1.7 and so on"
            Some(images_map("pdf", "a.png", "JVBERi0xLjcgYW5kIHNvIG9u")),
            from_map("pdf"),
            unavailable,
            "the image of spec.images[0] (ConfigMap pdf, key a.png) is no png, jpeg, gif or webp",
            images_map("pdf", "a.png", PNG),
        ),
        of(
            "second",
            Some(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"},
                "binaryData": {"a.png": PNG}, "data": {"b.png": "see attachment"},
            })),
            "{images: [{configMapKeyRef: {name: two, key: a.png}}, {configMapKeyRef: {name: two, key: b.png}}]}",
            unavailable,
            "the image of spec.images[1] (ConfigMap two, key b.png) is text that is not base64",
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"},
                "binaryData": {"a.png": PNG}, "data": {"b.png": PNG},
            }),
        ),
        of(
            "secret",
            None,
            from_secret("nowhere"),
            Reason::SecretNotFound,
            "there is no Secret nowhere",
            images_secret("nowhere", prompt.clone()),
        ),
        of(
            "label",
            Some(labelled(json!({}))),
            from_secret("plain"),
            Reason::SecretNotLabelled,
            "label secret plain codeagents.dev/prompt=true",
            images_secret("plain", prompt.clone()),
        ),
        of(
            "credential",
            Some(images_secret(
                "both",
                json!({"codeagents.dev/prompt": "true", "codeagents.dev/credential": "true"}),
            )),
            from_secret("both"),
            unavailable,
            "a credential is never sent as an image",
            images_secret(
                "both",
                json!({"codeagents.dev/prompt": "true", "codeagents.dev/credential": "false"}),
            ),
        ),
    ];
    let world = with_all("images", &cases).await;
    for case in &cases {
        let stalled = world.stalled(case.name, case.reason, case.words).await;
        assert_eq!(stalled.status.unwrap().launch, None, "{}", case.name);
    }
    mended(world, &cases).await;
}

fn environment(name: &str, labels: Value, values: Value) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    // Not stringData: a key that is left out of it stays.
    let values = values.as_object().unwrap().iter();
    let data: serde_json::Map<_, _> = values
        .map(|(key, value)| (key.clone(), json!(STANDARD.encode(value.as_str().unwrap()))))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": labels}, "data": data,
    })
}

/// A Secret of this name with so many variables, whose names begin alike.
fn many(name: &str, count: usize) -> Value {
    let variables = (0..count).map(|n| (format!("{}_{n}", name.to_uppercase()), json!("x")));
    let values = variables.collect::<serde_json::Map<_, _>>();
    environment(
        name,
        json!({"codeagents.dev/environment": "true"}),
        json!(values),
    )
}

#[tokio::test]
async fn a_session_waits_for_its_environment_and_says_which_key_of_which_secret_is_wrong() {
    let labels = || json!({"codeagents.dev/environment": "true"});
    let good = |name: &str| environment(name, labels(), json!({"TOKEN": "secret"}));
    let with = |name: &str, values: Value| environment(name, labels(), values);
    let of = |name: &'static str, given: Option<Value>, reason, words| Case {
        name,
        given: std::iter::once(agent(name, "{}")).chain(given).collect(),
        session: format!("{{envFrom: [{{secretRef: {{name: {name}}}}}]}}").leak(),
        reason,
        words,
        agent_stalls: false,
        mend: good(name),
    };
    let unavailable = Reason::EnvironmentUnavailable;
    let mut cases = vec![
        of(
            "absent",
            None,
            Reason::SecretNotFound,
            "there is no Secret absent in namespace",
        ),
        of(
            "plain",
            Some(environment(
                "plain",
                json!({"codeagents.dev/environment": "false"}),
                json!({"TOKEN": "secret"}),
            )),
            Reason::SecretNotLabelled,
            "label secret plain codeagents.dev/environment=true",
        ),
        of(
            "key",
            Some(environment(
                "key",
                json!({"codeagents.dev/credential": "true", "codeagents.dev/environment": "true"}),
                json!({"TOKEN": "secret"}),
            )),
            unavailable,
            "a credential is never sent as an environment variable. Put the variables into a Secret of its own with the label codeagents.dev/environment",
        ),
        of(
            "empty",
            Some(with("empty", json!({}))),
            unavailable,
            "the Secret empty of envFrom has no keys",
        ),
        of(
            "dashed",
            Some(with("dashed", json!({"my-key": "secret"}))),
            unavailable,
            "the Secret dashed of envFrom has the key my-key, which cannot be the name of an environment variable",
        ),
        of(
            "reserved",
            Some(with("reserved", json!({"CURSOR_API_KEY": "secret"}))),
            unavailable,
            "the Secret reserved of envFrom has the key CURSOR_API_KEY, and names that begin with CURSOR_ are reserved",
        ),
        of(
            "large",
            Some(with("large", json!({"TOKEN": "secret".repeat(1000)}))),
            unavailable,
            "the Secret large of envFrom has a value of more than 4096 bytes under the key TOKEN",
        ),
    ];
    cases.push(Case {
        given: vec![agent("full", "{}"), many("full", 50), many("more", 1)],
        session: "{envFrom: [{secretRef: {name: full}}, {secretRef: {name: more}}]}",
        mend: many("full", 49),
        ..of(
            "full",
            None,
            unavailable,
            "the Secrets of envFrom (full, more) hold 51 environment variables together, and at most 50 can be sent",
        )
    });
    let world = with_all("environment", &cases).await;
    for case in &cases {
        let stalled = world.stalled(case.name, case.reason, case.words).await;
        assert!(!format!("{:?}", stalled.status).contains("secretsecret"));
        assert_eq!(stalled.status.unwrap().launch, None, "{}", case.name);
    }
    mended(world, &cases).await;
}

#[tokio::test]
async fn what_is_missing_is_named_and_once_it_is_there_the_session_goes_on() {
    const FROM_MAP: &str =
        "{prompt: null, promptFrom: {configMapKeyRef: {name: texts, key: task}}}";
    let unlabelled = {
        let mut unlabelled = secret("unlabelled", CURSOR_KEY);
        unlabelled["metadata"]["labels"]["codeagents.dev/credential"] = json!("false");
        unlabelled
    };
    let other_key = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "other-key", "labels": {"codeagents.dev/credential": "true"}},
        "stringData": {"token": CURSOR_KEY},
    });
    let cases = [
        Case {
            name: "agent",
            given: vec![],
            session: "{}",
            reason: Reason::AgentNotFound,
            words: "there is no CodeAgent agent in namespace",
            agent_stalls: false,
            mend: agent("agent", "{}"),
        },
        Case {
            name: "secret",
            given: vec![agent_with("secret", "nowhere")],
            session: "{}",
            reason: Reason::SecretNotFound,
            words: "there is no Secret nowhere",
            agent_stalls: true,
            mend: secret("nowhere", CURSOR_KEY),
        },
        Case {
            name: "label",
            given: vec![agent_with("label", "unlabelled"), unlabelled],
            session: "{}",
            reason: Reason::SecretNotLabelled,
            words: "label secret unlabelled codeagents.dev/credential=true",
            agent_stalls: true,
            mend: secret("unlabelled", CURSOR_KEY),
        },
        Case {
            name: "key",
            given: vec![agent_with("key", "other-key"), other_key],
            session: "{}",
            reason: Reason::SecretKeyMissing,
            words: "the Secret other-key has no key api-key",
            agent_stalls: true,
            mend: secret("other-key", CURSOR_KEY),
        },
        Case {
            name: "empty-key",
            given: vec![agent_with("empty-key", "empty"), secret("empty", " ")],
            session: "{}",
            reason: Reason::SecretKeyMissing,
            words: "empty value",
            agent_stalls: true,
            mend: secret("empty", CURSOR_KEY),
        },
        Case {
            name: "own-secret",
            given: vec![agent("own-secret", "{}")],
            session: "{credentials: {secretRef: {name: mine}}}",
            reason: Reason::SecretNotFound,
            words: "there is no Secret mine",
            agent_stalls: false,
            mend: secret("mine", CURSOR_KEY),
        },
        Case {
            name: "prompt",
            given: vec![agent("prompt", "{}")],
            session: "{prompt: null, promptFrom: {configMapKeyRef: {name: later, key: task}}}",
            reason: Reason::PromptUnavailable,
            words: "there is no ConfigMap later",
            agent_stalls: false,
            mend: config_map("later", json!({"task": "Fix the bug"})),
        },
        Case {
            name: "prompt-key",
            given: vec![
                agent("prompt-key", "{}"),
                config_map("texts", json!({"other": "x"})),
            ],
            session: FROM_MAP,
            reason: Reason::PromptUnavailable,
            words: "the ConfigMap texts has no key task",
            agent_stalls: false,
            mend: config_map("texts", json!({"task": "Fix the bug"})),
        },
        Case {
            name: "prompt-label",
            given: vec![agent("prompt-label", "{}"), {
                let mut plain = secret("plain", "Fix the bug");
                plain["metadata"].as_object_mut().unwrap().remove("labels");
                plain
            }],
            session: "{prompt: null, promptFrom: {secretKeyRef: {name: plain, key: api-key}}}",
            reason: Reason::SecretNotLabelled,
            words: "label secret plain codeagents.dev/prompt=true",
            agent_stalls: false,
            mend: prompt_secret("plain"),
        },
        // Whoever may create sessions but not read Secrets would get any key told by an agent.
        Case {
            name: "prompt-credential",
            given: vec![agent("prompt-credential", "{}"), {
                let mut both = prompt_secret("both");
                both["metadata"]["labels"]["codeagents.dev/credential"] = json!("true");
                both
            }],
            session: "{prompt: null, promptFrom: {secretKeyRef: {name: both, key: api-key}}}",
            reason: Reason::PromptUnavailable,
            words: "a credential is never sent as a prompt",
            agent_stalls: false,
            mend: prompt_secret("both"),
        },
        Case {
            name: "repository",
            given: vec![agent("repository", "{repository: null}")],
            session: "{}",
            reason: Reason::RepositoryMissing,
            words: "neither the CodeAgent nor the session names a repository",
            agent_stalls: false,
            mend: agent("repository", "{}"),
        },
    ];
    let world = with_all("missing", &cases).await;
    for case in &cases {
        let stalled = world.stalled(case.name, case.reason, case.words).await;
        assert_eq!(stalled.status.unwrap().launch, None, "{}", case.name);
        if case.agent_stalls {
            let wanted = |agent: &_| agent_is(agent, "Stalled", "True", case.reason);
            let agent = world.until_agent(case.name, "stalled", wanted).await;
            assert!(
                agent_is(&agent, "Ready", "False", case.reason),
                "{}",
                case.name
            );
        }
    }
    assert_eq!(
        world.posts().len(),
        0,
        "something was sent before everything was there"
    );
    for case in &cases {
        world.apply(&case.mend).await;
    }
    for case in &cases {
        world.finished(case.name).await;
        let wanted = |agent: &_| agent_is(agent, "Ready", "True", Reason::Ready);
        world.until_agent(case.name, "ready", wanted).await;
    }
    world.end().await;
}

/// What goes missing while a session waits for something else is said, too; and what was said before comes back with its cause.
#[tokio::test]
async fn a_reason_goes_with_its_cause() {
    let world = World::start("missing-again").await;
    world.apply(&agent("a", "{suspend: true}")).await;
    world.apply(&session("a", "{}")).await;
    let waits =
        |session: &_| crate::world::is(session, "Reconciling", "True", Reason::AgentSuspended);
    world.until("a", "held by its agent", waits).await;
    world
        .apply(&session("a", "{desiredState: Suspended}"))
        .await;
    let held = |session: &_| crate::world::is(session, "Stalled", "False", Reason::Suspended);
    world.until("a", "suspended", held).await;
    world
        .apply(&agent("a", "{credentials: {secretRef: {name: nowhere}}}"))
        .await;
    world.apply(&session("a", "{desiredState: Running}")).await;
    world.stalled("a", Reason::SecretNotFound, "nowhere").await;
    world.apply(&agent("a", "{}")).await;
    world.finished("a").await;
    world.end().await;
}
