//! A small HTTP server whose answers a test writes by hand, and what it takes to point a provider at it.
#![allow(
    dead_code,
    reason = "every test file compiles its own copy and none needs all of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::serve::ListenerExt;
use codeagent_operator::api::{
    CursorSpec, FirebenderSpec, FiretigerSpec, FlapjackSpec, ProviderKind, ProviderSpec,
    PullRequestSpec,
};
use codeagent_operator::domain::environment::Environment;
use codeagent_operator::domain::ids::{InstallationId, LaunchKey};
use codeagent_operator::domain::image::{Image, ImageData};
use codeagent_operator::domain::pull_request::StartingPoint;
use codeagent_operator::domain::remote::Recovery;
use codeagent_operator::providers::contract::{
    API_KEY, AdoptRequest, Connection, LaunchRequest, Provider, SendWindow,
};
use codeagent_operator::providers::credential::Credential;
use codeagent_operator::providers::http::{HttpSettings, HttpStack, RateLimit};
use codeagent_operator::providers::registry::Registry;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

/// A key that must never be seen anywhere.
pub const KEY: &str = "key_canary_0123456789abcdef";
/// The key of the Cursor account behind Flapjack; never to be seen either.
pub const CURSOR_KEY: &str = "cursor_canary_fedcba9876543210";
pub const REPOSITORY: &str = "https://github.com/acme/app";

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: axum::http::HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn is(&self, line: &str) -> bool {
        format!("{} {}", self.method, self.target) == line
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What the server answers.
pub fn reply(status: u16, body: impl ToString) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// An error in Cursor's shape.
pub fn refusal(status: u16, code: &str) -> Response {
    reply(
        status,
        serde_json::json!({"error": {"code": code, "message": format!("because of {code}")}}),
    )
}

pub struct Server {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves `answer` on loopback until dropped.
    pub async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::start_with_room(1 << 20, answer).await
    }

    /// The same, for requests of at most `room` bytes.
    pub async fn start_with_room(
        room: usize,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counted = Arc::clone(&connections);
        let listener = listener.tap_io(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let log = Arc::clone(&seen);
        let answer = Arc::new(answer);
        let app = axum::Router::new().fallback(move |request: Request| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let request = Seen {
                    method: parts.method.to_string(),
                    target: parts.uri.to_string(),
                    headers: parts.headers,
                    body: axum::body::to_bytes(body, room).await.unwrap(),
                };
                log.lock().unwrap().push(request.clone());
                answer(&request)
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            seen,
            connections,
            serving,
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and target of every request, in order.
    pub fn lines(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.target))
            .collect()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Short times and a small cap, over plain HTTP.
pub fn settings() -> HttpSettings {
    HttpSettings {
        connect_timeout: Duration::from_secs(2),
        get_timeout: Duration::from_secs(5),
        list_timeout: Duration::from_secs(5),
        post_timeout: Duration::from_secs(5),
        stream_quiet: Duration::from_millis(200),
        stream_retry: Duration::from_millis(10),
        response_cap: 256 << 10,
        allow_http: true,
        rate_limit: RateLimit {
            interval: Duration::from_millis(1),
            burst: 1000,
            ..RateLimit::default()
        },
        ..HttpSettings::default()
    }
}

/// The same, with this time for a POST.
pub fn settings_with(post_timeout: Duration) -> HttpSettings {
    HttpSettings {
        post_timeout,
        ..settings()
    }
}

pub fn stack(settings: HttpSettings) -> HttpStack {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    HttpStack::new(settings).unwrap()
}

pub fn spec(kind: ProviderKind) -> ProviderSpec {
    match kind {
        ProviderKind::Cursor => ProviderSpec {
            cursor: Some(CursorSpec::default()),
            ..ProviderSpec::default()
        },
        ProviderKind::Firebender => ProviderSpec {
            firebender: Some(FirebenderSpec::default()),
            ..ProviderSpec::default()
        },
        ProviderKind::Flapjack => ProviderSpec {
            flapjack: Some(FlapjackSpec::default()),
            ..ProviderSpec::default()
        },
        ProviderKind::Firetiger => ProviderSpec {
            firetiger: Some(FiretigerSpec {
                coding_agent_id: "cursor-prod".into(),
                endpoint: None,
            }),
            ..ProviderSpec::default()
        },
        // A whole mapping of the real world: the example of the documentation.
        ProviderKind::Http => {
            let manifest = include_str!("../../../examples/http-devin.yaml");
            let agent = manifest
                .split("\n---\n")
                .find(|part| part.contains("kind: CodeAgent"));
            let mut agent: serde_json::Value = serde_saphyr::from_str(agent.unwrap()).unwrap();
            // Prompts are compared word for word, so that the starting point goes beside it.
            let body = &mut agent["spec"]["provider"]["http"]["launch"]["body"];
            body["prompt"] = "{prompt}".into();
            body["start"] = "{ref}".into();
            serde_json::from_value(agent["spec"]["provider"].clone()).unwrap()
        }
        ProviderKind::Job => {
            let job = serde_json::json!({"adapter": "Claude", "image": "agent:1"});
            ProviderSpec {
                job: Some(serde_json::from_value(job).unwrap()),
                ..ProviderSpec::default()
            }
        }
    }
}

/// The values of a Secret for this provider, with `key` where it wants its own key.
pub fn credential(kind: ProviderKind, key: &str) -> Credential {
    match kind {
        ProviderKind::Cursor | ProviderKind::Firebender | ProviderKind::Http => {
            Credential::new().with(API_KEY, key)
        }
        ProviderKind::Flapjack => Credential::new()
            .with(API_KEY, key)
            .with("cursor-api-key", CURSOR_KEY),
        ProviderKind::Firetiger => Credential::new()
            .with("username", "robot-1")
            .with("password", key),
        // It has none.
        ProviderKind::Job => Credential::new(),
    }
}

pub fn connection(http: &HttpStack, kind: ProviderKind, endpoint: &Url, key: &str) -> Connection {
    Connection {
        spec: spec(kind),
        endpoint: endpoint.clone(),
        credential: credential(kind, key),
        cluster: None,
        http: http.clone(),
    }
}

pub fn connect(http: &HttpStack, kind: ProviderKind, endpoint: &Url) -> Arc<dyn Provider> {
    Registry::get(kind)
        .unwrap()
        .connect(connection(http, kind, endpoint, KEY))
        .unwrap()
}

pub fn key(attempt: i32) -> LaunchKey {
    LaunchKey::derive("namespace-uid", "session-uid", attempt)
}

pub fn installation() -> InstallationId {
    InstallationId::new("0a1b2c3d")
}

pub fn window(length: Duration) -> SendWindow {
    SendWindow {
        not_after: Timestamp::now() + Duration::from_secs(3600),
        opened: Instant::now(),
        length,
    }
}

/// An image of 1 × 1 pixel in base64.
pub const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The same, decoded.
pub fn png() -> Image {
    Image::Data(ImageData::from_base64(PNG).unwrap())
}

/// What a launch that asks for no pull request says.
pub fn no_pull_request() -> PullRequestSpec {
    PullRequestSpec {
        auto_create: false,
        ..PullRequestSpec::default()
    }
}

pub fn launch_request() -> LaunchRequest {
    LaunchRequest {
        key: key(1),
        name: "team-a/fix-login".into(),
        prompt: "Fix it\n\n<!-- codeagents.dev/0a1b2c3d/session-uid/1 -->\ncodeagents.dev ref 0a1b2c3d/session-uid/1".into(),
        images: Vec::new(),
        environment: Environment::default(),
        repository: REPOSITORY.into(),
        start: StartingPoint::Reference("main".into()),
        model: None,
        pull_request: no_pull_request(),
        on_behalf_of: None,
        issue: None,
        template_id: None,
        webhook: None,
        session: Default::default(),
        active_deadline_seconds: 7200,
        window: window(Duration::from_secs(20)),
    }
}

/// A lookup of attempt 1 in a window from 12:00 to 13:00 on 1 October 2026.
pub fn adopt_request() -> AdoptRequest {
    AdoptRequest {
        message: None,
        keys: vec![key(1)],
        installation: installation(),
        uid: "session-uid".into(),
        repository: REPOSITORY.into(),
        recovery: Recovery::ClientId,
        template_id: None,
        baseline: None,
        sent: Some(launch_request().prompt),
        created_from: "2026-10-01T12:00:00Z".parse().unwrap(),
        created_until: "2026-10-01T13:00:00Z".parse().unwrap(),
        owned: Default::default(),
        prove_absence: true,
        evidence_seen: true,
        resume: None,
    }
}
