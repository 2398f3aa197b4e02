//! A key leaves the operator towards its provider and nowhere else.

use codeagent_operator::api::{ENVIRONMENT_LABEL, PROMPT_LABEL, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use kube::ResourceExt;
use serde_json::Value;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, session_id};

/// A value that nobody else writes.
const CANARY: &str = "canary-7d0f4a51c2e94b6f";
/// The same, in an image.
const IMAGE_CANARY: &str = "canary-of-an-image-93fe07";
/// The same, in a prompt that not everybody may read.
const PROMPT_CANARY: &str = "canary-of-a-prompt-51c2";

/// The same, in an environment variable.
const ENVIRONMENT_CANARY: &str = "canary-of-a-variable-0c6b";

for_each_provider!(a_key_turns_up_nowhere_but_at_its_provider);

/// Through a whole life, a refusal in which the provider repeats the key, and a key that is not accepted any more.
async fn a_key_turns_up_nowhere_but_at_its_provider(provider: Provider) {
    let world = World::new().await;
    world.accept_key(provider, "canary", CANARY);
    world.agent(provider).await;
    world.secret(provider, CANARY).await;
    // Everything that this project's code says, and the libraries below it.
    let arguments = Arguments::calm().with("--log-level", "trace");
    let operator = world.operator_with(arguments).await;

    let prompt = "sim: creating=200ms setup=200ms running=800ms\nDo it";
    world.session(provider, "whole", prompt).await;
    world.until_phase("whole", SessionPhase::Running).await;
    let whole = world.until_settled("whole").await;
    assert_eq!(world.launches(&whole).len(), 1);

    world
        .apply(serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "embargoed", "labels": {PROMPT_LABEL: "true"}},
            "stringData": {"prompt": format!("sim: running=200ms\nMend {PROMPT_CANARY}")},
        }))
        .await;
    let from_secret = serde_json::json!({
        "promptFrom": {"secretKeyRef": {"name": "embargoed", "key": "prompt"}},
    });
    world.session_with(provider, "secret", from_secret).await;
    let secret = world.until_settled("secret").await;
    assert_eq!(world.launches(&secret).len(), 1);

    with_image(&world, provider).await;
    with_environment(&world, provider).await;

    let launch = Matcher::class(OperationClass::Launch);
    let words = format!("the key {CANARY} is odd");
    let body = serde_json::json!({
        "error": {"code": "odd", "message": words},
        "message": words,
    });
    let echo = FaultKind::Respond {
        status: 400,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string(),
    };
    world.simulator.inject(Fault::once(launch, echo));
    world.session(provider, "refused", "Do it").await;
    // A refusal without a known cause is tried again, so the session waits with the provider's words.
    world
        .until("refused", "told the provider's words", |session| {
            let status = serde_json::to_string(&session.status).unwrap();
            status.contains("[redacted] is odd")
        })
        .await;

    world
        .session(provider, "later", "sim: outcome=never\nGo on")
        .await;
    world.until_phase("later", SessionPhase::Running).await;
    world.simulator.revoke(provider, "canary");
    world
        .until_reason("later", "Stalled", "CredentialsInvalid")
        .await;

    let kinds = "codesessions,codeagents,events,leases,configmaps";
    let stored = world
        .kubectl(&["get", kinds, "-o", "json", "--show-managed-fields"])
        .await;
    let items: Value = serde_json::from_str(&stored).unwrap();
    // Four sessions or five, an agent, a Lease, and events.
    assert!(items["items"].as_array().unwrap().len() >= 8, "{stored}");
    let seen = serde_json::to_string(&world.simulator.requests()).unwrap();
    let log = operator.log();
    assert!(log.contains("TRACE") && log.contains("launched as"));
    for text in [&stored, &log] {
        assert!(!text.contains(PROMPT_CANARY), "a prompt of a Secret");
        for form in image_forms() {
            assert!(!text.contains(&form), "an image of a Secret, as {form}");
        }
        for form in forms(ENVIRONMENT_CANARY) {
            assert!(!text.contains(&form), "a variable, as {form}");
        }
    }
    for (place, text) in [
        ("the cluster", stored),
        ("the metrics", operator.metrics().await),
        ("the simulator's records", seen),
        ("the log", log),
    ] {
        for form in forms(CANARY) {
            let at = text.find(&form).map(|at| {
                let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                text[from..].lines().next().unwrap_or_default().to_owned()
            });
            assert_eq!(at, None, "{form} in {place}");
        }
    }
}

/// A gif of one pixel, with words that are its comment.
fn image() -> Vec<u8> {
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend([0x21, 0xfe, u8::try_from(IMAGE_CANARY.len()).unwrap()]);
    gif.extend(IMAGE_CANARY.as_bytes());
    gif.extend(b"\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x01\x44\0\x3b");
    gif
}

/// What of an image could turn up somewhere: its words, its base64 (every part of it is as good), and bytes as Rust shows them.
fn image_forms() -> Vec<String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let bytes: Vec<String> = IMAGE_CANARY.bytes().map(|it| it.to_string()).collect();
    let encoded = STANDARD.encode(image());
    vec![
        IMAGE_CANARY.to_owned(),
        encoded.get(32..64).unwrap().to_owned(),
        bytes.join(", "),
    ]
}

/// A session with an image of a Secret, which the provider quotes when it first refuses it.
async fn with_image(world: &World, provider: Provider) {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    match provider {
        Provider::Cursor | Provider::Firebender => {}
        Provider::Flapjack | Provider::Firetiger | Provider::Http => return,
    }
    let encoded = STANDARD.encode(image());
    world
        .apply(serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "mock-up", "labels": {PROMPT_LABEL: "true"}},
            "data": {"a.gif": encoded},
        }))
        .await;
    let message = format!("images[0].data: '{encoded}' is odd");
    let quote = FaultKind::Respond {
        status: 429,
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
        body: serde_json::json!({"error": {"code": "odd", "message": message}}).to_string(),
    };
    let launch = Matcher::class(OperationClass::Launch);
    world.simulator.inject(Fault::once(launch, quote));
    let settings = serde_json::json!({
        "prompt": "sim: running=200ms\nBuild this",
        "images": [{"secretKeyRef": {"name": "mock-up", "key": "a.gif"}}],
    });
    world.session_with(provider, "pictured", settings).await;
    let pictured = world.until_settled("pictured").await;
    let launches = world.launches(&pictured);
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0].images.len(), 1);
    assert_eq!(launches[0].images[0].bytes, image().len());
}

/// A session with an environment variable, which the provider quotes in two forms when it first refuses it.
async fn with_environment(world: &World, provider: Provider) {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    match provider {
        Provider::Cursor => {}
        Provider::Firebender | Provider::Flapjack | Provider::Firetiger | Provider::Http => return,
    }
    world
        .apply(serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "staging", "labels": {ENVIRONMENT_LABEL: "true"}},
            "stringData": {"TOKEN": ENVIRONMENT_CANARY},
        }))
        .await;
    let encoded = STANDARD.encode(ENVIRONMENT_CANARY);
    let message = format!("envVars.TOKEN: {ENVIRONMENT_CANARY} ({encoded}) is odd");
    let quote = FaultKind::Respond {
        status: 429,
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
        body: serde_json::json!({"error": {"code": "odd", "message": message}}).to_string(),
    };
    let launch = Matcher::class(OperationClass::Launch);
    world.simulator.inject(Fault::once(launch, quote));
    let settings = serde_json::json!({
        "prompt": "sim: running=200ms\nBuild this",
        "envFrom": [{"secretRef": {"name": "staging"}}],
    });
    world.session_with(provider, "equipped", settings).await;
    let equipped = world.until_settled("equipped").await;
    let launches = world.launches(&equipped);
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0].environment.len(), 1);
}

/// How a key may look: plain, and as Basic authentication and Secrets encode it.
fn forms(key: &str) -> Vec<String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    vec![
        key.to_owned(),
        STANDARD_NO_PAD.encode(key),
        STANDARD_NO_PAD.encode(format!("{key}:")),
    ]
}

/// Who has Firebender's token can watch and use the machine: it is shown to nobody.
#[tokio::test]
async fn a_token_for_the_machine_is_shown_to_nobody() {
    let provider = Provider::Firebender;
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::calm().with("--log-level", "trace");
    let operator = world.operator_with(arguments).await;
    world
        .session(provider, "one", "sim: outcome=never\nGo on")
        .await;
    let running = world
        .until("one", "shown with its live view", |session| {
            let links = session.status.as_ref().and_then(|it| it.links.as_ref());
            links.is_some_and(|links| links.preview.is_some())
        })
        .await;
    let id = session_id(&running);
    let url = format!("{}/v0/agents/{id}", world.simulator.firebender_url());
    let client = reqwest::Client::new();
    let answer = client
        .get(url)
        .header("x-api-key", "firebender-demo-key")
        .send();
    let answer = answer.await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let token = answer["vncToken"].as_str().unwrap();
    assert_eq!(running.name_any(), "one");

    let kinds = "codesessions,codeagents,events,leases,secrets,configmaps";
    let stored = world.kubectl(&["get", kinds, "-o", "json"]).await;
    assert!(stored.contains(&id));
    for text in [stored, operator.log(), operator.metrics().await] {
        assert!(!text.contains(token));
    }
}
