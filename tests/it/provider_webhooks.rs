//! Providers that say by themselves that a session has moved: it is looked at now, and nothing that anybody else says changes anything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codeagent_operator::api::{ProviderKind, SessionPhase};
use codeagent_operator::domain::provider_webhook::ProviderWebhooks;
use codeagent_simulator::{
    Delivery, Fault, FaultKind, Matcher, OperationClass, Provider, Webhook, WebhookMode,
    webhook_signature,
};
use kube::ResourceExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::operator::{Arguments, Operator};
use crate::support::world::{PATIENCE, World};

const KEY: &str = "a key of the tests, long enough for anybody";
/// What a session of these tests does: it ends when nobody looks.
const TASK: &str = "sim: creating=100ms setup=0s running=500ms\nDo it";

/// What stands in front of the operator: an address that is known before it starts.
struct Ingress {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
}

impl Ingress {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let led_to = Arc::clone(&target);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let target = *led_to.lock().unwrap();
                let Some(target) = target else { continue };
                tokio::spawn(async move {
                    let mut operator = TcpStream::connect(target).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut operator).await
                });
            }
        });
        Self { address, target }
    }

    fn url(&self) -> String {
        format!("http://{}/agents", self.address)
    }

    /// Leads to this operator, once it takes webhooks.
    async fn lead_to(&self, world: &World, operator: &Operator) {
        let find = || -> Option<SocketAddr> {
            let log = operator.log();
            let (_, rest) = log.split_once("takes providers' webhooks address=")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        world
            .until_true("webhooks are taken", || find().is_some())
            .await;
        *self.target.lock().unwrap() = find();
    }
}

/// An operator that looks at nothing by itself for as long as a test takes.
fn arguments(base: &Ingress, key: &std::path::Path) -> Arguments {
    Arguments::calm()
        .with("--poll-min", "1h")
        .with("--poll-max", "1h")
        .with("--webhook-listen", "127.0.0.1:0")
        .with("--webhook-base-url", &base.url())
        .with("--webhook-key-file", &key.display().to_string())
}

struct Bench {
    world: World,
    operator: Operator,
    ingress: Ingress,
    _folder: tempfile::TempDir,
}

/// A world with a CodeAgent of this provider that takes webhooks.
async fn bench(provider: Provider, change: impl FnOnce(Arguments) -> Arguments) -> Bench {
    let world = World::new().await;
    world.agent_with(provider, settings(provider)).await;
    let ingress = Ingress::new().await;
    let (folder, key) = key_file();
    let arguments = change(arguments(&ingress, &key));
    let operator = world.operator_with(arguments).await;
    ingress.lead_to(&world, &operator).await;
    Bench {
        world,
        operator,
        ingress,
        _folder: folder,
    }
}

fn key_file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    (folder, key)
}

fn settings(provider: Provider) -> serde_json::Value {
    match provider {
        Provider::Cursor => json!({"provider": {"cursor": {"apiVersion": "v0"}}}),
        _ => json!({}),
    }
}

impl Bench {
    /// How many deliveries ended like this.
    async fn counted(&self, result: &str) -> u64 {
        counted(&self.operator, result).await
    }

    async fn until_counted(&self, result: &str, count: u64) {
        until_counted(&self.operator, result, count).await;
    }

    fn webhook(&self) -> Webhook {
        let mut sessions = self.world.simulator.sessions().into_iter();
        sessions.find_map(|session| session.webhook).unwrap()
    }

    fn looks(&self) -> usize {
        let requests = self.world.simulator.requests().into_iter();
        requests
            .filter(|request| request.class == Some(OperationClass::Get))
            .count()
    }
}

async fn counted(operator: &Operator, result: &str) -> u64 {
    let line = format!("codeagent_provider_webhooks_total{{result=\"{result}\"}} ");
    let metrics = operator.metrics().await;
    let count = metrics.lines().find_map(|found| found.strip_prefix(&line));
    count.map_or(0, |count| count.parse().unwrap())
}

async fn until_counted(operator: &Operator, result: &str, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while counted(operator, result).await < count {
        assert!(Instant::now() < deadline, "{}", operator.metrics().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ends_because_of_its_webhook(provider: Provider) {
    let bench = bench(provider, |arguments| arguments).await;
    let world = &bench.world;
    world.session(provider, "one", TASK).await;
    // It would be looked at in an hour.
    let done = world.until_phase("one", SessionPhase::Finished).await;
    bench.until_counted("Hinted", 1).await;
    let kind = match provider {
        Provider::Cursor => ProviderKind::Cursor,
        _ => ProviderKind::Firebender,
    };
    // What it was told is what any replica would have told it.
    let base = bench.ingress.url().parse().unwrap();
    let expected = ProviderWebhooks::new(&base, KEY, true).unwrap();
    let expected = expected.of(kind, &done.uid().unwrap()).unwrap();
    let told = bench.webhook();
    assert_eq!(told.url, expected.url);
    assert_eq!(told.secret.as_deref(), Some(expected.secret.as_str()));
    let log = bench.operator.log();
    let stored = serde_json::to_string(&done).unwrap();
    for secret in [told.url.as_str(), expected.secret.as_str()] {
        assert!(!log.contains(secret) && !stored.contains(secret));
    }
}

#[tokio::test]
async fn a_session_of_cursor_ends_because_its_provider_says_so() {
    ends_because_of_its_webhook(Provider::Cursor).await;
}

#[tokio::test]
async fn a_session_of_firebender_ends_because_its_provider_says_so() {
    ends_because_of_its_webhook(Provider::Firebender).await;
}

#[tokio::test]
async fn a_launch_that_is_sent_again_tells_the_same_and_one_without_the_flag_nothing() {
    let again = bench(Provider::Cursor, |arguments| {
        arguments
            .with("--send-window", "3s")
            .with("--post-timeout", "4s")
            .with("--settle-time", "1s")
    })
    .await;
    let world = &again.world;
    let launch = Matcher::class(OperationClass::Launch);
    let lost = Fault::once(launch, FaultKind::DropBefore);
    world.simulator.inject(lost);
    world.session(Provider::Cursor, "one", TASK).await;
    let done = world.until_phase("one", SessionPhase::Finished).await;
    let status = done.status.as_ref().unwrap();
    assert_eq!(status.launch.as_ref().unwrap().posts, 2);
    let base = again.ingress.url().parse().unwrap();
    let expected = ProviderWebhooks::new(&base, KEY, true).unwrap();
    let expected = expected.of(ProviderKind::Cursor, &done.uid().unwrap());
    assert_eq!(again.webhook().url, expected.unwrap().url);

    let world = World::new().await;
    world
        .agent_with(Provider::Cursor, settings(Provider::Cursor))
        .await;
    let _operator = world.operator().await;
    world.session(Provider::Cursor, "one", TASK).await;
    let done = world.until_phase("one", SessionPhase::Finished).await;
    assert_eq!(world.at_provider(&done).webhook, None);
}

/// The agent has ended, and its provider said so, before the launch is answered.
#[tokio::test]
async fn a_webhook_before_the_answer_to_the_launch_counts() {
    let bench = bench(Provider::Cursor, |arguments| arguments).await;
    let world = &bench.world;
    let task = "sim: creating=0s running=0s latency=1500ms\nDo it";
    world.session(Provider::Cursor, "one", task).await;
    world.until_phase("one", SessionPhase::Finished).await;
    assert_eq!(bench.counted("Hinted").await, 1);
}

/// Sends it with other headers; the status of the answer.
async fn with_headers(delivery: &Delivery, headers: &[(&str, &str)]) -> Option<u16> {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let changed = Delivery {
        headers: headers.collect(),
        ..delivery.clone()
    };
    changed.send().await
}

#[tokio::test]
async fn what_is_forged_repeated_too_large_or_too_slow_changes_nothing() {
    let bench = bench(Provider::Cursor, |arguments| arguments).await;
    let world = &bench.world;
    world.simulator.deliver_webhooks(WebhookMode::Never);
    let endless = "sim: creating=0s outcome=never\nGo on";
    world.session(Provider::Cursor, "one", endless).await;
    world.until_phase("one", SessionPhase::Creating).await;
    world
        .until_true("it is launched", || {
            let mut sessions = world.simulator.sessions().into_iter();
            sessions.any(|session| session.webhook.is_some())
        })
        .await;
    let Webhook { url, secret } = bench.webhook();
    let secret = secret.unwrap();
    let genuine = |id: &str, body: &str| Delivery {
        session: String::new(),
        url: url.clone(),
        id: id.to_owned(),
        headers: vec![
            ("X-Webhook-ID".to_owned(), id.to_owned()),
            (
                "X-Webhook-Signature".to_owned(),
                webhook_signature(&secret, body.as_bytes()).unwrap(),
            ),
        ],
        body: body.to_owned(),
    };
    let good = genuine("1", "{}");
    let looks = bench.looks();

    let signature = &good.headers[1].1;
    let other = webhook_signature("another secret of some length, 32+", b"{}").unwrap();
    for headers in [
        vec![],
        vec![("X-Webhook-Signature", other.as_str())],
        vec![("X-Webhook-Signature", "sha256=")],
        vec![
            ("X-Webhook-Signature", signature),
            ("X-Webhook-Signature", signature),
        ],
    ] {
        assert_eq!(
            with_headers(&good, &headers).await,
            Some(401),
            "{headers:?}"
        );
    }
    let tampered = Delivery {
        body: "{ }".to_owned(),
        ..good.clone()
    };
    assert_eq!(tampered.send().await, Some(401));
    let (front, _) = url.rsplit_once('/').unwrap();
    for address in [
        format!("{front}/{}", "0".repeat(32)),
        url.replace("/cursor/", "/firebender/"),
        front.to_owned(),
        bench.ingress.url(),
        format!("http://{}/metrics", bench.ingress.address),
    ] {
        let unknown = Delivery {
            url: address,
            ..good.clone()
        };
        assert_eq!(unknown.send().await, Some(404), "{}", unknown.url);
    }
    // Without the Ingress, which gives up what is refused before it is read.
    let target = bench.ingress.target.lock().unwrap().unwrap();
    let large = Delivery {
        url: url.replace(&bench.ingress.address.to_string(), &target.to_string()),
        ..genuine("2", &"a".repeat(5 << 20))
    };
    assert_eq!(large.send().await, Some(413));
    assert_eq!(slow(&url).await, 408);
    // None of it was a reason to look.
    assert_eq!(bench.looks(), looks);
    assert_eq!(bench.counted("Forged").await, 5);
    assert_eq!(bench.counted("Unknown").await, 5);
    assert_eq!(bench.counted("TooLarge").await, 1);
    assert_eq!(bench.counted("TooSlow").await, 1);
    assert_eq!(bench.counted("Hinted").await, 0);

    // A genuine one is one look, and the same again none.
    for _ in 0..10 {
        assert_eq!(good.send().await, Some(204));
    }
    world
        .until_true("it is looked at", || bench.looks() > looks)
        .await;
    assert_eq!(bench.counted("Hinted").await, 1);
    assert_eq!(bench.counted("Repeated").await, 9);
    world.until_phase("one", SessionPhase::Running).await;
    assert_eq!(bench.looks(), looks + 1);
}

/// The status that one is answered with who sends a head and never its body.
async fn slow(url: &str) -> u16 {
    let url: reqwest::Url = url.parse().unwrap();
    let address = format!("127.0.0.1:{}", url.port().unwrap());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{{",
        url.path()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    let answer = std::str::from_utf8(&answer).unwrap();
    answer.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_delivery_that_comes_twice_is_one_reason_to_look() {
    let bench = bench(Provider::Cursor, |arguments| arguments).await;
    let world = &bench.world;
    world.simulator.deliver_webhooks(WebhookMode::Twice);
    world.session(Provider::Cursor, "one", TASK).await;
    world.until_phase("one", SessionPhase::Finished).await;
    bench.until_counted("Repeated", 1).await;
    assert_eq!(bench.counted("Hinted").await, 1);
}

/// The provider is led to the replica that does not lead.
#[tokio::test]
async fn a_replica_that_does_not_lead_passes_it_on() {
    let world = World::new().await;
    world
        .agent_with(Provider::Cursor, settings(Provider::Cursor))
        .await;
    let (public, first, second) = (
        Ingress::new().await,
        Ingress::new().await,
        Ingress::new().await,
    );
    let (_folder, key) = key_file();
    let arguments = || {
        arguments(&public, &key)
            .with("--leader-election", "true")
            .and("--webhook-peers", &first.address.to_string())
            .and("--webhook-peers", &second.address.to_string())
    };
    let leader = world.operator_with(arguments()).await;
    first.lead_to(&world, &leader).await;
    world
        .until_true("it leads", || leader.log().contains("acquired leadership"))
        .await;
    let follower = world.operator_with(arguments()).await;
    second.lead_to(&world, &follower).await;
    public.lead_to(&world, &follower).await;

    world.session(Provider::Cursor, "one", TASK).await;
    world.until_phase("one", SessionPhase::Finished).await;
    until_counted(&follower, "PassedOn", 1).await;
    until_counted(&leader, "Hinted", 1).await;
    // It comes back to the one that has passed it on, and ends there.
    until_counted(&follower, "Repeated", 1).await;
    assert_eq!(counted(&follower, "PassedOn").await, 1);
}
