//! Images beside a prompt or a message: from every kind of source to the provider, and nowhere else.

use codeagent_operator::api::{PROMPT_LABEL, SessionPhase};
use codeagent_simulator::{
    Fault, FaultKind, ImageRecord, Launch, LaunchKind, Matcher, OperationClass, Provider,
};
use serde_json::{Value, json};

use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, phase_of, pretty};

/// 1 × 1 pixel each, different from each other.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
const SHORT: &str = "sim: creating=100ms setup=100ms running=200ms\nDo it";

/// Makes of each specification one test for every provider that takes images.
macro_rules! for_each_that_takes_images {
    ($($specification:ident),+ $(,)?) => {
        $(mod $specification {
            use codeagent_simulator::Provider;

            #[tokio::test]
            async fn cursor() {
                super::$specification(Provider::Cursor, "v1").await;
            }

            #[tokio::test]
            async fn cursor_v0() {
                super::$specification(Provider::Cursor, "v0").await;
            }

            #[tokio::test]
            async fn firebender() {
                super::$specification(Provider::Firebender, "").await;
            }
        })+
    };
}

async fn agent(world: &World, provider: Provider, version: &str) {
    let settings = match provider {
        Provider::Cursor => json!({"provider": {"cursor": {"apiVersion": version}}}),
        _ => json!({}),
    };
    world.agent_with(provider, settings).await;
}

async fn config_map(world: &World, name: &str, binary: Value, text: Value) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "binaryData": binary, "data": text,
    });
    world.apply(map).await;
}

async fn secret(world: &World, name: &str, data: Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {PROMPT_LABEL: "true"}},
        "data": data,
    });
    world.apply(secret).await;
}

fn in_map(name: &str, key: &str) -> Value {
    json!({"configMapKeyRef": {"name": name, "key": key}})
}

fn in_secret(name: &str, key: &str) -> Value {
    json!({"secretKeyRef": {"name": name, "key": key}})
}

/// What the provider received of an image with this content.
fn received(encoded: &str, version: &str) -> ImageRecord {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let content = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap();
    let mime_type = if encoded == PNG {
        "image/png"
    } else {
        "image/gif"
    };
    ImageRecord {
        url: None,
        sha256: Some(format!("{:x}", Sha256::digest(&content))),
        bytes: content.len(),
        mime_type: (version == "v1").then(|| mime_type.to_owned()),
        dimension: Some((1, 1)),
    }
}

fn of_kind(launches: &[Launch], kind: LaunchKind) -> Vec<&Launch> {
    launches
        .iter()
        .filter(|launch| launch.kind == kind)
        .collect()
}

for_each_that_takes_images!(images_of_every_source_reach_the_provider_in_order);

async fn images_of_every_source_reach_the_provider_in_order(provider: Provider, version: &str) {
    let world = World::new().await;
    agent(&world, provider, version).await;
    config_map(
        &world,
        "shots",
        json!({"a.png": PNG}),
        json!({"b.gif": GIF}),
    )
    .await;
    secret(&world, "embargoed", json!({"c.gif": GIF})).await;
    let _operator = world.operator().await;
    let images = [
        in_map("shots", "a.png"),
        in_map("shots", "b.gif"),
        in_secret("embargoed", "c.gif"),
    ];
    let settings = json!({"prompt": SHORT, "images": images});
    world.session_with(provider, "one", settings).await;
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    let launches = world.launches(&done);
    assert_eq!(launches.len(), 1);
    let wanted = [PNG, GIF, GIF].map(|encoded| received(encoded, version));
    assert_eq!(launches[0].images, wanted);

    // A message to it has its own.
    let message =
        json!([{"name": "more", "prompt": SHORT, "images": [in_secret("embargoed", "c.gif")]}]);
    world
        .change_session("one", json!({"messages": message}))
        .await;
    let done = world
        .until("one", "the message is over", |session| {
            let messages = session.status.as_ref().map(|it| &it.messages);
            let ended = messages.is_some_and(|all| all.len() == 2 && all[1].phase.is_terminal());
            ended && phase_of(session).is_terminal()
        })
        .await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    let launches = world.launches(&done);
    let messages = of_kind(&launches, LaunchKind::Message);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].images, [received(GIF, version)]);
}

#[tokio::test]
async fn a_url_is_left_to_the_provider_that_reads_it() {
    let provider = Provider::Cursor;
    let url = "https://example.com/a.png";
    let world = World::new().await;
    agent(&world, provider, "v1").await;
    let _operator = world.operator().await;
    let settings = json!({"prompt": SHORT, "images": [{"url": url}]});
    world.session_with(provider, "one", settings).await;
    let done = world.until_settled("one").await;
    let launches = world.launches(&done);
    let by_url = ImageRecord {
        url: Some(url.to_owned()),
        sha256: None,
        bytes: 0,
        mime_type: None,
        dimension: None,
    };
    assert_eq!(launches[0].images, [by_url]);
}

/// A message with images to a provider that takes none is not sent, and says who takes them; the session is what it was.
#[tokio::test]
async fn a_message_with_images_is_refused_where_none_are_taken() {
    let provider = Provider::Flapjack;
    let world = World::new().await;
    world.agent(provider).await;
    config_map(&world, "shots", json!({"a.png": PNG}), json!({})).await;
    let _operator = world.operator().await;
    let message = json!([{"name": "more", "prompt": SHORT, "images": [in_map("shots", "a.png")]}]);
    let settings = json!({"prompt": SHORT, "messages": message});
    world.session_with(provider, "one", settings).await;
    let settled = world
        .until("one", "told why it is not sent", |session| {
            let messages = session.status.as_ref().map(|it| it.messages.as_slice());
            messages.is_some_and(|all| all.iter().any(|it| it.name == "more" && it.error.is_some()))
        })
        .await;
    let status = settled.status.as_ref().unwrap();
    let message = status.messages.iter().find(|it| it.name == "more").unwrap();
    let error = message.error.as_ref().unwrap();
    assert_eq!(error.reason, "CapabilityMissing", "{}", pretty(&settled));
    assert!(
        error
            .message
            .contains("Flapjack cannot take images; Cursor and Firebender can"),
        "{}",
        error.message
    );
    let launches = world.launches(&settled);
    assert!(of_kind(&launches, LaunchKind::Message).is_empty());
}

for_each_that_takes_images!(a_launch_that_never_arrived_is_sent_again_with_the_same_images);

async fn a_launch_that_never_arrived_is_sent_again_with_the_same_images(
    provider: Provider,
    version: &str,
) {
    let world = World::new().await;
    agent(&world, provider, version).await;
    config_map(&world, "shots", json!({"a.png": PNG}), json!({})).await;
    let launch = Matcher::class(OperationClass::Launch);
    world
        .simulator
        .inject(Fault::once(launch, FaultKind::DropBefore));
    let _operator = world.operator_with(Arguments::impatient()).await;
    let settings = json!({"prompt": SHORT, "images": [in_map("shots", "a.png")]});
    world.session_with(provider, "one", settings).await;
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    let record = done.status.as_ref().unwrap().launch.as_ref().unwrap();
    assert_eq!(record.posts, 2);
    let launches = world.launches(&done);
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0].images, [received(PNG, version)]);
}

/// What is known of an image may be older than the image: what is claimed is what is sent.
#[tokio::test]
async fn an_image_that_changed_is_sent_as_it_is_now_and_claimed_as_it_is_sent() {
    let provider = Provider::Cursor;
    let world = World::new().await;
    agent(&world, provider, "v1").await;
    config_map(&world, "shots", json!({"a": PNG}), json!({})).await;
    // What was read of a source counts for long.
    let arguments = Arguments::calm().with("--recheck", "10m");
    let _operator = world.operator_with(arguments).await;
    let settings = json!({"prompt": SHORT, "images": [in_map("shots", "a")]});
    world
        .session_with(provider, "before", settings.clone())
        .await;
    let before = world.until_settled("before").await;
    assert_eq!(world.launches(&before)[0].images, [received(PNG, "v1")]);

    config_map(&world, "shots", json!({"a": GIF}), json!({})).await;
    world.session_with(provider, "after", settings).await;
    let after = world.until_settled("after").await;
    let launches = world.launches(&after);
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0].images, [received(GIF, "v1")]);
    let record = after.status.as_ref().unwrap().launch.as_ref().unwrap();
    assert_eq!(record.posts, 1);
}

/// A session whose image is no image waits without a claim, and says which one and why.
#[tokio::test]
async fn what_is_no_image_is_refused_before_anything_is_claimed() {
    let provider = Provider::Firebender;
    let world = World::new().await;
    agent(&world, provider, "").await;
    // "%PDF-1.7 and so on"
    let pdf = "JVBERi0xLjcgYW5kIHNvIG9u";
    config_map(&world, "papers", json!({"a.pdf": pdf}), json!({})).await;
    let _operator = world.operator().await;
    let settings = json!({"prompt": SHORT, "images": [in_map("papers", "a.pdf")]});
    world.session_with(provider, "one", settings).await;
    let waiting = world
        .until_reason("one", "Stalled", "ImageUnavailable")
        .await;
    let why = &condition_of(&waiting, "Stalled").unwrap().message;
    assert!(
        why.contains(
            "the image of spec.images[0] (ConfigMap papers, key a.pdf) is no png, jpeg, gif or webp"
        ),
        "{why}"
    );
    assert_eq!(waiting.status.as_ref().unwrap().launch, None);
    assert!(world.launches(&waiting).is_empty());
}
