//! What one process says to the API server and to the providers passes here: it is noted, and can be held back right
//! before it goes on or right before its answer comes back.
//!
//! Towards the providers it is the process's HTTP proxy, so that all processes know them under the same addresses: an
//! account is an account at an address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use codeagent_simulator::{Provider, Urls};
use futures::StreamExt;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::world::World;

/// More than any request of the operator.
const BODY_BYTES: usize = 8 << 20;

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    ApiServer,
    Provider(Provider),
}

/// One call of the process.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub party: Party,
    pub method: Method,
    pub path: String,
}

impl Call {
    /// Whether it changes a CodeSession.
    pub fn writes_session(&self) -> bool {
        self.party == Party::ApiServer
            && self.method != Method::GET
            && self.path.contains("/codesessions/")
    }

    /// Whether it changes something at a provider.
    pub fn acts_at_provider(&self) -> bool {
        matches!(self.party, Party::Provider(_)) && self.method != Method::GET
    }

    /// Whether it starts a session, at any provider.
    pub fn is_launch(&self) -> bool {
        let of_sessions = ["/v0/agents", "/v1/agents", "/api/code-sessions"];
        self.method == Method::POST && of_sessions.contains(&self.path.as_str())
    }

    /// Whether it is a step of a session's life: what comes of it must not be lost, and must not happen twice.
    pub fn is_step(&self) -> bool {
        self.writes_session() || self.acts_at_provider()
    }
}

/// On which side of a call it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has not arrived.
    Before,
    /// It has arrived and taken effect; the process has no answer.
    After,
}

struct Hold {
    side: Side,
    applies: Box<dyn Fn(&Call) -> bool + Send>,
    skip: usize,
    met: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// A call that is, or will be, held. Dropping it fails the call: what was held before it arrived never arrives.
pub struct Held {
    meets: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    release: Option<oneshot::Sender<()>>,
}

impl Held {
    /// Waits until the process has made the call.
    pub async fn met(&mut self) {
        self.release = Some(self.meets.recv().await.expect("the crossing lives"));
    }

    /// Lets the call go on.
    pub fn release(mut self) {
        // The process may be gone.
        let _ = self.release.take().expect("it was met").send(());
    }
}

struct Shared {
    calls: Mutex<Vec<Call>>,
    hold: Mutex<Option<Hold>>,
    cut_off: AtomicBool,
    silent_from: Arc<Mutex<Option<String>>>,
    api_server: kube::Client,
    providers: reqwest::Client,
    urls: Urls,
}

/// Where everything passes that one process says.
pub struct Crossing {
    shared: Arc<Shared>,
    directory: TempDir,
    proxy: SocketAddr,
    _stop: DropGuard,
}

impl Crossing {
    /// In front of the API server, as the operator's user, and of the providers of this world.
    pub async fn new(world: &World) -> Self {
        let mut config = world.access.config();
        config.default_retry = false;
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            hold: Mutex::default(),
            cut_off: AtomicBool::new(false),
            silent_from: Arc::default(),
            api_server: kube::Client::try_from(config).unwrap(),
            providers: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .no_proxy()
                .build()
                .unwrap(),
            urls: world.simulator.urls().clone(),
        });
        let stop = CancellationToken::new();
        let api_server = serve(&shared, Front::ApiServer, &stop).await;
        let proxy = serve(&shared, Front::Proxy, &stop).await;
        let directory = tempfile::tempdir().unwrap();
        // Who the process is, is said on the other side.
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [{"name": "default", "cluster": {"server": format!("http://{api_server}")}}],
            "users": [{"name": "operator", "user": {}}],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "operator"}}],
        });
        std::fs::write(directory.path().join(KUBECONFIG), kubeconfig.to_string()).unwrap();
        Self {
            shared,
            directory,
            proxy,
            _stop: stop.drop_guard(),
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join(KUBECONFIG)
    }

    /// The address of the process's HTTP proxy.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// Holds the first call from now on that `applies`, after `skip` of them.
    pub fn hold(
        &self,
        side: Side,
        skip: usize,
        applies: impl Fn(&Call) -> bool + Send + 'static,
    ) -> Held {
        let (met, meets) = mpsc::unbounded_channel();
        *self.shared.hold.lock().unwrap() = Some(Hold {
            side,
            applies: Box::new(applies),
            skip,
            met,
        });
        Held {
            meets,
            release: None,
        }
    }

    /// From now on the API server answers nothing.
    pub fn cut_off(&self) {
        self.shared.cut_off.store(true, Ordering::Release);
    }

    /// Watches say nothing more from the first event on that holds `text`, as over a connection whose other end is lost.
    pub fn silence_watches_from(&self, text: &str) {
        *self.shared.silent_from.lock().unwrap() = Some(text.to_owned());
    }

    /// The calls from `since` on, as they came.
    pub fn calls(&self, since: Instant) -> Vec<Call> {
        let calls = self.shared.calls.lock().unwrap();
        let later = calls.iter().filter(|call| call.at >= since);
        later.cloned().collect()
    }
}

const KUBECONFIG: &str = "kubeconfig.json";

/// What the process takes a listener for.
#[derive(Clone, Copy)]
enum Front {
    ApiServer,
    Proxy,
}

async fn serve(shared: &Arc<Shared>, front: Front, stop: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new()
        .fallback(pass)
        .with_state((Arc::clone(shared), front));
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, router) => served.unwrap(),
            () = stop.cancelled() => {}
        }
    });
    address
}

impl Shared {
    /// Notes the call; the side on which it is to be held, and where to say so.
    fn note(&self, call: Call) -> Option<(Side, mpsc::UnboundedSender<oneshot::Sender<()>>)> {
        let mut hold = self.hold.lock().unwrap();
        let hit = match hold.as_mut() {
            Some(armed) if (armed.applies)(&call) => {
                let hit = armed.skip == 0;
                armed.skip = armed.skip.saturating_sub(1);
                hit
            }
            _ => false,
        };
        self.calls.lock().unwrap().push(call);
        let armed = if hit { hold.take() } else { None };
        armed.map(|armed| (armed.side, armed.met))
    }

    fn provider_at(&self, uri: &Uri) -> Option<Provider> {
        let authority = uri.authority()?.as_str();
        let mut all = Provider::ALL.into_iter();
        all.find(|provider| self.urls.of(*provider).ends_with(authority))
    }

    async fn forward(&self, party: Party, request: Request) -> Option<Response> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, BODY_BYTES).await.ok()?;
        let path = parts.uri.path_and_query()?.as_str().to_owned();
        match party {
            Party::ApiServer => {
                let mut request = axum::http::Request::builder()
                    .method(parts.method)
                    .uri(path)
                    .body(kube::client::Body::from(body.to_vec()))
                    .ok()?;
                *request.headers_mut() = end_to_end(parts.headers);
                let watched = request
                    .uri()
                    .query()
                    .is_some_and(|query| query.contains("watch=true"));
                let (mut parts, body) = self.api_server.send(request).await.ok()?.into_parts();
                parts.headers = end_to_end(parts.headers);
                let body = match watched {
                    true => silenced(Body::new(body), Arc::clone(&self.silent_from)),
                    false => Body::new(body),
                };
                Some(Response::from_parts(parts, body))
            }
            Party::Provider(provider) => {
                let url = self.urls.of(provider);
                let answer = self
                    .providers
                    .request(parts.method, format!("{url}{path}"))
                    .headers(end_to_end(parts.headers))
                    .body(body)
                    .send()
                    .await
                    .ok()?;
                let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
                let body: Bytes = answer.bytes().await.ok()?;
                Some((status, headers, body).into_response())
            }
        }
    }
}

/// What a watch says, until the text comes with which it falls silent.
fn silenced(body: Body, silent_from: Arc<Mutex<Option<String>>>) -> Body {
    let said = Vec::new();
    let parts = futures::stream::unfold(
        (body.into_data_stream(), said, silent_from),
        |(mut parts, mut said, silent_from)| async move {
            let part = parts.next().await?;
            if let Ok(bytes) = &part {
                said.extend_from_slice(bytes);
            }
            let silent = silent_from.lock().unwrap().clone().is_some_and(|text| {
                let text = text.as_bytes();
                said.windows(text.len()).any(|window| window == text)
            });
            if silent {
                std::future::pending::<()>().await;
            }
            // An event is a line; what came before it is of no interest any more.
            if let Some(end) = said.iter().rposition(|byte| *byte == b'\n') {
                said.drain(..=end);
            }
            Some((part, (parts, said, silent_from)))
        },
    );
    Body::from_stream(parts)
}

/// The headers that are not about one connection.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    headers
}

async fn pass(State((shared, front)): State<(Arc<Shared>, Front)>, request: Request) -> Response {
    let lost = || StatusCode::BAD_GATEWAY.into_response();
    let party = match front {
        Front::ApiServer => Party::ApiServer,
        Front::Proxy => match shared.provider_at(request.uri()) {
            Some(provider) => Party::Provider(provider),
            None => return lost(),
        },
    };
    let held = shared.note(Call {
        at: Instant::now(),
        party,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
    });
    if party == Party::ApiServer && shared.cut_off.load(Ordering::Acquire) {
        std::future::pending::<()>().await;
    }
    let Some((side, met)) = held else {
        return shared.forward(party, request).await.unwrap_or_else(lost);
    };
    let (release, released) = oneshot::channel();
    match side {
        Side::Before => {
            let _ = met.send(release);
            if released.await.is_err() {
                return lost();
            }
            shared.forward(party, request).await.unwrap_or_else(lost)
        }
        Side::After => {
            let answer = shared.forward(party, request).await;
            let _ = met.send(release);
            if released.await.is_err() {
                return lost();
            }
            answer.unwrap_or_else(lost)
        }
    }
}
