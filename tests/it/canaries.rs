//! Secrets that are no provider's key turn up nowhere: what signs reports, and the password of a proxy. (The others: `secrecy.rs`.)

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codeagent_operator::api::WEBHOOK_LABEL;
use codeagent_simulator::Provider;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::operator::Arguments;
use crate::support::world::{World, demo_key};

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// Words that nobody else writes, as long as a signing key must be.
const SIGNING: &str = "canary-that-signs-reports-8c1d";
const PASSWORD: &str = "canary-of-a-proxy-4be2";

/// Everything of the namespace that people and other programs may read.
async fn stored(world: &World) -> String {
    let kinds = "codesessions,codeagents,events,leases,configmaps";
    let words = ["get", kinds, "-o", "json", "--show-managed-fields"];
    world.kubectl(&words).await
}

fn assert_nowhere(forms: &[String], places: &[(&str, &str)]) {
    for (place, text) in places {
        for form in forms {
            let at = text.find(form.as_str()).map(|at| {
                let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                text[from..].lines().next().unwrap_or_default().to_owned()
            });
            assert_eq!(at, None, "{form} in {place}");
        }
    }
}

/// The receiver refuses each report, and repeats in its answer all that it was sent.
#[tokio::test]
async fn what_signs_reports_is_shown_to_nobody_not_even_to_the_receiver() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/reports", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(String::new()));
    let inbox = Arc::clone(&got);
    let receive = async move |headers: HeaderMap, body: String| {
        let told = format!("{headers:?} {body}");
        inbox.lock().unwrap().push_str(&told);
        (StatusCode::INTERNAL_SERVER_ERROR, told)
    };
    let router = Router::new().fallback(receive);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });

    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let encoded = STANDARD.encode(SIGNING);
    world
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "signing", "labels": {WEBHOOK_LABEL: "true"}},
            "stringData": {"secret": format!("whsec_{encoded}"), "short": "whsec_c2hvcnQ="},
        }))
        .await;
    let arguments = Arguments::calm().with("--log-level", "trace");
    let operator = world.operator_with(arguments).await;
    for (name, key) in [("reporting", "secret"), ("unsigned", "short")] {
        let webhook = json!({"url": url, "secretRef": {"name": "signing", "key": key}});
        let settings = json!({"prompt": "Do it", "webhook": webhook});
        world.session_with(Provider::Cursor, name, settings).await;
    }
    world
        .until_reason("reporting", "WebhookDelivered", "WebhookFailing")
        .await;
    world.until_settled("unsigned").await;

    let (log, metrics) = (operator.log(), operator.metrics().await);
    assert!(log.contains("TRACE"));
    let got = got.lock().unwrap().clone();
    assert!(got.contains("webhook-signature"), "{got}");
    let bytes: Vec<String> = SIGNING.bytes().map(|it| it.to_string()).collect();
    let forms = [
        SIGNING.to_owned(),
        encoded.trim_end_matches('=').to_owned(),
        bytes.join(", "),
    ];
    assert_nowhere(
        &forms,
        &[
            ("the cluster", &stored(&world).await),
            ("the log", &log),
            ("the metrics", &metrics),
            ("the reports", &got),
        ],
    );
}

/// A proxy that refuses everybody, and repeats in its answer all that it was sent. Ends with its tasks.
async fn refusing_proxy() -> (String, Arc<Mutex<String>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let got = Arc::new(Mutex::new(String::new()));
    let inbox = Arc::clone(&got);
    let mut server = JoinSet::new();
    server.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16384];
            let read = stream.read(&mut request).await.unwrap_or_default();
            let told = String::from_utf8_lossy(&request[..read]).into_owned();
            inbox.lock().unwrap().push_str(&told);
            let body = json!({"error": {"code": "odd", "message": told}}).to_string();
            let answer = format!(
                "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // A client that has gone tells no secret.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, got, server)
}

/// As the program is run: what its libraries log counts as well.
async fn through_a_proxy_with_a_password(endpoint: &str, variable: &str) {
    let (proxy, got, _server) = refusing_proxy().await;
    let world = World::new().await;
    world
        .secret(Provider::Cursor, demo_key(Provider::Cursor))
        .await;
    world.agent_alone(Provider::Cursor, json!({})).await;
    let arguments = Arguments::calm()
        .with("--log-level", "trace,kube_runtime=trace,kube_client=trace")
        .with("--namespace", world.name())
        .with("--operator-namespace", world.name())
        .with("--provider-endpoint", &format!("cursor={endpoint}"));
    let directory = tempfile::tempdir().unwrap();
    let log_path = directory.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_codeagent-operator"))
        .args(arguments.words())
        .env("KUBECONFIG", world.access.kubeconfig())
        .env(variable, format!("http://agents:{PASSWORD}@{proxy}"))
        .env("NO_PROXY", "127.0.0.1,localhost")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log_path).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let basic = STANDARD.encode(format!("agents:{PASSWORD}"));
    let deadline = Instant::now() + PATIENCE;
    // Asked more than once, so that the first refusal has been told.
    while got.lock().unwrap().matches(&basic).count() < 2 {
        let log = std::fs::read_to_string(&log_path).unwrap();
        assert!(Instant::now() < deadline, "{log}");
        assert_eq!(child.try_wait().unwrap(), None, "{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world
        .until_agent(Provider::Cursor, "told that it is refused", |agent| {
            let status = serde_json::to_string(&agent.status).unwrap();
            status.contains("CredentialsUnverified") || status.contains("ProviderUnavailable")
        })
        .await;
    child.kill().await.unwrap();
    let log = std::fs::read_to_string(&log_path).unwrap();
    assert!(log.contains("TRACE"));
    let forms = [PASSWORD.to_owned(), basic.trim_end_matches('=').to_owned()];
    let places = [("the cluster", stored(&world).await), ("the log", log)];
    let places = places
        .each_ref()
        .map(|(place, text)| (*place, text.as_str()));
    assert_nowhere(&forms, &places);
}

#[tokio::test]
async fn a_proxys_password_is_shown_to_nobody() {
    through_a_proxy_with_a_password("http://provider.invalid", "HTTP_PROXY").await;
}

#[tokio::test]
async fn a_proxys_password_is_shown_to_nobody_over_a_tunnel_either() {
    through_a_proxy_with_a_password("https://provider.invalid", "HTTPS_PROXY").await;
}
