//! The proxy between the operator and everything it talks to: it names and records every call, and injects the faults of a run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::Trouble;
use crate::boundary::{Boundary, Call, Side, Verb};
use crate::distortion::{Clocks, echoed};
use crate::fault::Fault;
use crate::provider::UnderTest;

/// How long an answer is withheld before the connection is closed, as whatever stands in between would do. Longer than the operator's
/// own time limit of a launch, and short enough to be waited for thousands of times.
const WITHHELD: Duration = Duration::from_millis(1200);
/// How long a launch whose lists are stale is missing from them: less than the operator's settle time after its time limit.
const LAG: Duration = Duration::from_millis(600);
/// How late a late answer comes: at a launch within the operator's time limit, else long after the operator was told of the effect.
const LATE_LAUNCH: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_millis(700);
/// The page that is announced and cannot be had.
const ANOTHER_PAGE: &str = "another-page";
/// What whatever stands before a provider shows to who is not let through.
const WEB_PAGE: &str = "<!DOCTYPE html><html><body><h1>Sign in to go on</h1></body></html>";
/// Connections that are kept for the next call.
const IDLE_CONNECTIONS: usize = 64;

type AnswerBody = UnsyncBoxBody<Bytes, Closed>;
type Answer = Result<Response<AnswerBody>, Closed>;

/// The connection is closed without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

/// Where calls go in the end. Clones share their connections.
#[derive(Clone)]
pub struct Upstream {
    api: kube::Client,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    /// The API server as `api` sees it, and simulated providers.
    pub fn new(api: kube::Client) -> Self {
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build_http();
        Self { api, http }
    }
}

/// A call that the operator made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its name.
    pub boundary: Boundary,
    /// When it arrived at the proxy.
    pub at: Instant,
    /// The fault that it met.
    pub fault: Option<Fault>,
    /// Whether it did not arrive because of a fault that began at an earlier call.
    pub kept_away: bool,
    /// The session that it is for, if it is for one at the API server.
    pub session: Option<String>,
}

/// An event that the operator published about an object, whether it was stored or not.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its reason.
    pub reason: String,
    /// Its note.
    pub note: String,
}

/// Asks for the operator's end; answered once nothing of it is left.
pub type CrashRequest = oneshot::Sender<()>;

/// What one run's proxies share.
pub struct Exchange {
    upstream: Upstream,
    provider: &'static UnderTest,
    provider_url: String,
    simulator: codeagent_simulator::Handle,
    crash: mpsc::UnboundedSender<CrashRequest>,
    clocks: Clocks,
    state: Mutex<State>,
    /// How many calls were made.
    progress: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    counts: HashMap<Call, u32>,
    made: Vec<Made>,
    armed: Vec<(Boundary, Fault)>,
    published: Vec<Published>,
    /// What lists of the API server said before anything of this run existed.
    earlier: BTreeMap<String, Bytes>,
    /// Kinds whose next list is answered with what was earlier.
    stale: HashSet<String>,
    /// What goes on being wrong.
    lasting: Lasting,
}

/// A proxy that is served until it is dropped, and its connections with it.
pub struct Front {
    /// Its address.
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Exchange {
    /// An exchange of one run with these faults in the way. Whoever reads the other end of `crash` ends the operator.
    pub fn new(
        upstream: Upstream,
        provider: &'static UnderTest,
        simulator: &codeagent_simulator::Simulator,
        faults: &[(Boundary, Fault)],
        crash: mpsc::UnboundedSender<CrashRequest>,
    ) -> Arc<Self> {
        let state = State {
            armed: faults.to_vec(),
            ..State::default()
        };
        Arc::new(Self {
            upstream,
            provider,
            provider_url: simulator.url(provider.simulated).to_owned(),
            simulator: (**simulator).clone(),
            crash,
            clocks: Clocks::of(faults),
            state: Mutex::new(state),
            progress: watch::Sender::new(0),
        })
    }

    /// Keeps what the API server's lists of these kinds say now, to be shown later in place of newer ones.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn keep_lists(&self, namespace: &str, kinds: &[&str]) -> Result<(), Trouble> {
        for kind in kinds {
            let path = format!("/apis/codeagents.dev/v1alpha1/namespaces/{namespace}/{kind}");
            let request = Request::get(path).body(Vec::new())?;
            let text = self.upstream.api.request_text(request).await?;
            self.lock().earlier.insert((*kind).to_owned(), text.into());
        }
        Ok(())
    }

    /// Serves one side of the exchange on a free port of loopback.
    ///
    /// # Errors
    /// If there is none.
    pub async fn serve(self: &Arc<Self>, side: Side) -> std::io::Result<Front> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let exchange = Arc::clone(self);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        // A socket that refuses the option is only slower.
                        let _ = stream.set_nodelay(true);
                        let exchange = Arc::clone(&exchange);
                        let service = service_fn(move |request| {
                            let exchange = Arc::clone(&exchange);
                            async move { exchange.answer(side, request).await }
                        });
                        let connection = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service);
                        // Its error is the connection being closed, by one side or the other.
                        connections.spawn(async move { connection.await.ok() });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Front {
            address,
            _tasks: tasks,
        })
    }

    /// Every call until now, in order.
    pub fn made(&self) -> Vec<Made> {
        self.lock().made.clone()
    }

    /// Every event until now.
    pub fn published(&self) -> Vec<Published> {
        self.lock().published.clone()
    }

    /// Waits until a call of this kind was made. The caller bounds it.
    pub async fn until_made(&self, holds: impl Fn(&Call) -> bool) {
        let mut progress = self.progress.subscribe();
        while !self
            .lock()
            .made
            .iter()
            .any(|made| holds(&made.boundary.call))
        {
            // The sender is ours.
            let _ = progress.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the call its name, and takes the fault that waits for it.
    fn enter(&self, call: Call, session: Option<String>) -> Option<Fault> {
        let mut state = self.lock();
        let count = state.counts.entry(call.clone()).or_insert(0);
        *count += 1;
        let boundary = Boundary {
            call,
            number: *count,
        };
        let armed = state.armed.iter().position(|(at, _)| *at == boundary);
        let fault = armed.map(|index| state.armed.swap_remove(index).1);
        if let Some(fault) = fault {
            state.lasting.begin(fault, &boundary.call);
        }
        state.made.push(Made {
            boundary,
            at: Instant::now(),
            fault,
            kept_away: false,
            session,
        });
        let made = state.made.len();
        drop(state);
        self.progress.send_replace(made);
        fault
    }

    async fn end_operator(&self) {
        let (done, ended) = oneshot::channel();
        if self.crash.send(done).is_ok() {
            // The answer is missing only while the run ends, and with it the operator.
            let _ = ended.await;
        }
    }

    async fn answer(self: Arc<Self>, side: Side, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let Some(call) = Call::of(side, &parts.method, &parts.uri) else {
            return Err(Closed);
        };
        self.note_event(&call, &body);
        let fault = self.enter(call.clone(), session_of(&parts.uri));
        self.wait_for_lease(&call).await;
        let lasting = self.lasting_answer(&call, &parts.uri);
        let forward = Forward {
            exchange: Arc::clone(&self),
            call,
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
        };
        if let Some(lasting) = lasting {
            return match lasting {
                LastingAnswer::Is(answer) => Ok(answer),
                LastingAnswer::RefusedByProvider => {
                    let refusal = codeagent_simulator::FaultKind::ErrorBefore {
                        status: 422,
                        code: "validation_error".to_owned(),
                    };
                    forward.refused(refusal).await
                }
            };
        }
        let Some(fault) = fault else {
            let kind = forward.call.clone();
            if kind.verb == Verb::List && self.lock().stale.remove(&kind.target) {
                return self.earlier(&kind.target);
            }
            return forward.send().await;
        };
        match fault {
            Fault::DropBefore => Err(Closed),
            Fault::CrashBefore => {
                self.end_operator().await;
                Err(Closed)
            }
            Fault::CrashAfter => {
                // Whatever is answered, nobody is there to see it.
                let _ = forward.send().await;
                self.end_operator().await;
                Err(Closed)
            }
            Fault::TimeoutAfter => {
                let _ = forward.send().await;
                tokio::time::sleep(WITHHELD).await;
                Err(Closed)
            }
            Fault::ErrorAfter => {
                let _ = forward.send().await;
                Ok(match side {
                    Side::Api => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
                    Side::Provider => plain(StatusCode::BAD_GATEWAY, "<html>Bad Gateway</html>"),
                })
            }
            Fault::Conflict => match side {
                Side::Api => Ok(refusal(StatusCode::CONFLICT, conflict(&forward.call))),
                Side::Provider => {
                    let code = if self.provider.is_launch(&forward.call) {
                        self.provider.launch_conflict
                    } else {
                        self.provider.other_conflict
                    };
                    forward
                        .refused(codeagent_simulator::FaultKind::ErrorBefore {
                            status: 409,
                            code: code.to_owned(),
                        })
                        .await
                }
            },
            Fault::RateLimited => match side {
                Side::Api => {
                    let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
                    let second = HeaderValue::from_static("1");
                    answer.headers_mut().insert(header::RETRY_AFTER, second);
                    Ok(answer)
                }
                Side::Provider => {
                    forward
                        .refused(codeagent_simulator::FaultKind::RateLimited {
                            retry_after: Some(1),
                        })
                        .await
                }
            },
            Fault::StaleList => match (side, forward.call.verb) {
                (Side::Api, _) => self.earlier(&forward.call.target),
                (Side::Provider, Verb::Get) => emptied(forward.send().await).await,
                (Side::Provider, _) => {
                    let lag = codeagent_simulator::FaultKind::Lag { duration: LAG };
                    let _ = forward.refused(lag).await;
                    Err(Closed)
                }
            },
            Fault::NeverAnswered => {
                let _ = forward.send().await;
                // Until the operator closes the connection, or the run is over.
                std::future::pending().await
            }
            Fault::LateAnswer => {
                let late = match self.provider.is_launch(&forward.call) {
                    true => LATE_LAUNCH,
                    false => LATE,
                };
                let answer = forward.send().await;
                tokio::time::sleep(late).await;
                answer
            }
            Fault::PageError | Fault::PageToken => with_another_page(forward.send().await).await,
            Fault::StopIgnored => {
                let id = stopped_session(&forward.uri);
                let mut answer = Response::new(full(json!({"id": id}).to_string().into()));
                json_content(answer.headers_mut());
                Ok(answer)
            }
            Fault::EchoStripped
            | Fault::EchoCut
            | Fault::EchoRendered
            | Fault::ProviderAhead
            | Fault::ProviderBehind => {
                let _ = forward.send().await;
                Err(Closed)
            }
            Fault::WebPage => {
                let _ = forward.send().await;
                Ok(web_page(StatusCode::OK))
            }
            // What they begin has been answered above, or answers other calls.
            Fault::ListError
            | Fault::SlowLease
            | Fault::LeadFlickers
            | Fault::StopRefused
            | Fault::ServerAhead
            | Fault::ServerBehind
            | Fault::Policy
            | Fault::Firewall => forward.send().await,
            Fault::WatchCut => {
                let opened = forward.send().await?;
                let (head, _) = opened.into_parts();
                Ok(Response::from_parts(head, full(Bytes::new())))
            }
        }
    }

    /// A renewal of the Lease is held until the fault is over.
    async fn wait_for_lease(&self, call: &Call) {
        if call.target != "leases" || !call.verb.is_write() {
            return;
        }
        let until = self.lock().lasting.lease_hangs_until();
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// What a fault that began at an earlier call, or at this one, answers to it.
    fn lasting_answer(&self, call: &Call, uri: &Uri) -> Option<LastingAnswer> {
        let mut state = self.lock();
        let answer = state.lasting.answer(self.provider, call, uri)?;
        if let Some(made) = state
            .made
            .iter_mut()
            .rfind(|made| made.boundary.call == *call)
        {
            made.kept_away = true;
        }
        Some(answer)
    }

    fn note_event(&self, call: &Call, body: &[u8]) {
        if call.verb != Verb::Post || call.target != "events" {
            return;
        }
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| {
            let text = event.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let published = Published {
            reason: text("reason"),
            note: text("note"),
        };
        self.lock().published.push(published);
    }

    fn earlier(&self, kind: &str) -> Answer {
        let list = self.lock().earlier.get(kind).cloned();
        let mut answer = Response::new(full(list.ok_or(Closed)?));
        json_content(answer.headers_mut());
        Ok(answer)
    }
}

/// A call on its way.
struct Forward {
    exchange: Arc<Exchange>,
    call: Call,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Forward {
    /// Sends it. Once begun it arrives, whatever becomes of the operator: bytes on the wire are not taken back.
    async fn send(self) -> Answer {
        let task = tokio::spawn(async move {
            match self.call.side() {
                Side::Api if self.call.verb == Verb::Watch => self.watch().await,
                Side::Api => self.reach_api_server().await,
                Side::Provider => self.reach_provider().await,
            }
        });
        task.await.unwrap_or(Err(Closed))
    }

    /// Sends it to a provider that meets it with this fault.
    async fn refused(self, kind: codeagent_simulator::FaultKind) -> Answer {
        let when = codeagent_simulator::Matcher {
            provider: Some(self.exchange.provider.simulated),
            method: Some(self.method.to_string()),
            path_contains: Some(self.uri.path().to_owned()),
            ..codeagent_simulator::Matcher::default()
        };
        let fault = codeagent_simulator::Fault::once(when, kind);
        self.exchange.simulator.inject(fault);
        self.send().await
    }

    async fn reach_api_server(self) -> Answer {
        let clocks = self.exchange.clocks;
        let (mut head, body) = self.ask_api_server().await?.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let body = clocks.of_api_server(&mut head.headers, body);
        Ok(passed_on(head, full(body)))
    }

    async fn ask_api_server(self) -> Result<Response<kube::client::Body>, Closed> {
        let mut request = Request::new(kube::client::Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        // The client speaks for itself: with its own host, and without the compression that nobody here undoes.
        for name in [header::HOST, header::ACCEPT_ENCODING] {
            request.headers_mut().remove(name);
        }
        let answer = self.exchange.upstream.api.send(request).await;
        answer.map_err(|_| Closed)
    }

    async fn reach_provider(self) -> Answer {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("{}{path}", self.exchange.provider_url);
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri.parse().map_err(|_| Closed)?;
        *request.headers_mut() = self.headers;
        request.headers_mut().remove(header::HOST);
        let reads = self.call.verb == Verb::Get;
        let answer = self.exchange.upstream.http.request(request).await;
        let (mut head, body) = answer.map_err(|_| Closed)?.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let mut body = self.exchange.clocks.of_provider(&mut head.headers, body);
        let echo = self.exchange.lock().lasting.echo;
        if let (true, Some(echo)) = (reads, echo) {
            body = echoed(echo, body);
        }
        Ok(passed_on(head, full(body)))
    }

    /// Opens a watch; its events pass one by one, each a boundary of its own.
    async fn watch(self) -> Answer {
        let (exchange, kind) = (Arc::clone(&self.exchange), self.call.target.clone());
        let (head, body) = self.ask_api_server().await?.into_parts();
        if !head.status.is_success() {
            let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
            return Ok(passed_on(head, full(body)));
        }
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(pump(exchange, kind, body, sender));
        let frames = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        Ok(passed_on(head, StreamBody::new(frames).boxed_unsync()))
    }
}

/// What began at some call and goes on being wrong.
#[derive(Default)]
struct Lasting {
    lists_fail_until: Option<Instant>,
    /// How the page is answered that a list has announced.
    page: Option<Fault>,
    lease_hangs: Vec<(Instant, Instant)>,
    stops_refused_until: Option<Instant>,
    echo: Option<Fault>,
    policy: Option<(Call, Instant)>,
    firewall_until: Option<Instant>,
}

/// How long what lasts for a while does.
const WHILE: Duration = Duration::from_millis(1500);
/// How long a renewal hangs: longer than the operator's deadline in an election.
const HANGS: Duration = Duration::from_millis(1300);
/// The time in between in which one gets through.
const BETWEEN: Duration = Duration::from_millis(300);

enum LastingAnswer {
    Is(Response<AnswerBody>),
    /// The provider refuses, in its own words.
    RefusedByProvider,
}

impl Lasting {
    /// This fault was met at this call.
    fn begin(&mut self, fault: Fault, call: &Call) {
        let now = Instant::now();
        let end = Some(now + WHILE);
        match fault {
            Fault::ListError => self.lists_fail_until = end,
            Fault::PageError | Fault::PageToken => self.page = Some(fault),
            Fault::SlowLease => self.lease_hangs = vec![(now, now + HANGS)],
            Fault::LeadFlickers => {
                let again = now + HANGS + BETWEEN;
                self.lease_hangs = vec![(now, now + HANGS), (again, again + HANGS)];
            }
            Fault::StopRefused => self.stops_refused_until = end,
            Fault::EchoStripped | Fault::EchoCut | Fault::EchoRendered => self.echo = Some(fault),
            Fault::Policy => self.policy = Some((call.clone(), now + WHILE)),
            Fault::Firewall => self.firewall_until = end,
            Fault::DropBefore
            | Fault::CrashBefore
            | Fault::CrashAfter
            | Fault::TimeoutAfter
            | Fault::ErrorAfter
            | Fault::Conflict
            | Fault::RateLimited
            | Fault::StaleList
            | Fault::WatchCut
            | Fault::NeverAnswered
            | Fault::LateAnswer
            | Fault::StopIgnored
            | Fault::ProviderAhead
            | Fault::ProviderBehind
            | Fault::ServerAhead
            | Fault::ServerBehind
            | Fault::WebPage => {}
        }
    }

    fn lease_hangs_until(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut hanging = self.lease_hangs.iter();
        hanging
            .find(|(from, to)| (*from..*to).contains(&now))
            .map(|(_, to)| *to)
    }

    fn answer(&mut self, provider: &UnderTest, call: &Call, uri: &Uri) -> Option<LastingAnswer> {
        let goes_on = |until: Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        let is = |answer| Some(LastingAnswer::Is(answer));
        if call.side() == Side::Api {
            let refused = |(kind, until): &(Call, Instant)| kind == call && goes_on(Some(*until));
            return match self.policy.as_ref().is_some_and(refused) {
                true => is(refusal(StatusCode::UNPROCESSABLE_ENTITY, POLICY)),
                false => None,
            };
        }
        if goes_on(self.firewall_until) {
            return is(web_page(StatusCode::FORBIDDEN));
        }
        if provider.lists.contains(&call.target.as_str()) && call.verb == Verb::Get {
            if goes_on(self.lists_fail_until) {
                return is(web_page(StatusCode::NOT_FOUND));
            }
            if uri
                .query()
                .is_some_and(|query| query.contains(ANOTHER_PAGE))
            {
                return match self.page {
                    Some(Fault::PageToken) => Some(LastingAnswer::RefusedByProvider),
                    _ => is(web_page(StatusCode::BAD_GATEWAY)),
                };
            }
        }
        if provider.is_stop(call) && goes_on(self.stops_refused_until) {
            return Some(LastingAnswer::RefusedByProvider);
        }
        None
    }
}

type FrameSender = mpsc::Sender<Result<Frame<Bytes>, Closed>>;

/// Passes a watch on line by line until one side closes it.
async fn pump(
    exchange: Arc<Exchange>,
    kind: String,
    mut body: kube::client::Body,
    sender: FrameSender,
) {
    let mut unfinished = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return,
        };
        let Some(Ok(frame)) = frame else { return };
        let Ok(data) = frame.into_data() else { return };
        unfinished.extend_from_slice(&data);
        while let Some(end) = unfinished.iter().position(|byte| *byte == b'\n') {
            let rest = unfinished.split_off(end + 1);
            let line = std::mem::replace(&mut unfinished, rest);
            let line = exchange.clocks.of_watch(line);
            match tell(&exchange, &kind, line).await {
                Told::GoOn(line) => {
                    if sender.send(Ok(Frame::data(line))).await.is_err() {
                        return;
                    }
                }
                Told::Expired => {
                    let mut line = json!({
                        "type": "ERROR",
                        "object": status(StatusCode::GONE, "Expired"),
                    })
                    .to_string();
                    line.push('\n');
                    // The operator may have closed it meanwhile.
                    let _ = sender.send(Ok(Frame::data(line.into()))).await;
                    return;
                }
                Told::Cut => {
                    let _ = sender.send(Err(Closed)).await;
                    return;
                }
            }
        }
    }
}

enum Told {
    GoOn(Bytes),
    Expired,
    Cut,
}

async fn tell(exchange: &Exchange, kind: &str, line: Vec<u8>) -> Told {
    // Bookmarks come by the clock and tell nothing.
    if line.starts_with(br#"{"type":"BOOKMARK""#) {
        return Told::GoOn(line.into());
    }
    let event = Call {
        verb: Verb::Event,
        target: kind.to_owned(),
    };
    match exchange.enter(event, None) {
        // These begin here, and the event itself is told.
        None | Some(Fault::SlowLease | Fault::LeadFlickers) => Told::GoOn(line.into()),
        Some(Fault::StaleList) => {
            exchange.lock().stale.insert(kind.to_owned());
            Told::Expired
        }
        Some(Fault::CrashBefore) => {
            exchange.end_operator().await;
            Told::Cut
        }
        Some(
            Fault::WatchCut
            | Fault::DropBefore
            | Fault::CrashAfter
            | Fault::TimeoutAfter
            | Fault::ErrorAfter
            | Fault::Conflict
            | Fault::RateLimited
            | Fault::NeverAnswered
            | Fault::LateAnswer
            | Fault::ListError
            | Fault::PageError
            | Fault::PageToken
            | Fault::StopRefused
            | Fault::StopIgnored
            | Fault::EchoStripped
            | Fault::EchoCut
            | Fault::EchoRendered
            | Fault::ProviderAhead
            | Fault::ProviderBehind
            | Fault::ServerAhead
            | Fault::ServerBehind
            | Fault::Policy
            | Fault::WebPage
            | Fault::Firewall,
        ) => Told::Cut,
    }
}

fn full(bytes: Bytes) -> AnswerBody {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// The answer with what concerns only the connection it came over taken away.
fn passed_on(mut head: http::response::Parts, body: AnswerBody) -> Response<AnswerBody> {
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        head.headers.remove(name);
    }
    Response::from_parts(head, body)
}

/// The name of the CodeSession in a path of the API server.
fn session_of(uri: &Uri) -> Option<String> {
    let (_, rest) = uri.path().split_once("/codesessions/")?;
    rest.split('/').next().map(str::to_owned)
}

/// The id of the session that a stop is for: the part of its path after the collection.
fn stopped_session(uri: &Uri) -> &str {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
    let _ = parts.by_ref().take(2).count();
    parts.next().unwrap_or_default()
}

/// A list that says that there is another page.
async fn with_another_page(answer: Answer) -> Answer {
    let (head, body) = answer?.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut list: Value = serde_json::from_slice(&body).map_err(|_| Closed)?;
    if let Value::Object(members) = &mut list {
        members.insert("nextCursor".to_owned(), json!(ANOTHER_PAGE));
    }
    Ok(passed_on(head, full(list.to_string().into())))
}

/// A list in which nothing is yet: every array of the answer is empty, and there are no further pages.
async fn emptied(answer: Answer) -> Answer {
    let (head, body) = answer?.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut list: Value = serde_json::from_slice(&body).map_err(|_| Closed)?;
    if let Value::Object(members) = &mut list {
        members.retain(|_, member| !member.is_string());
        for member in members.values_mut() {
            if let Value::Array(items) = member {
                items.clear();
            }
        }
    }
    Ok(passed_on(head, full(list.to_string().into())))
}

/// Why the API server would refuse such a call with 409.
fn conflict(call: &Call) -> &'static str {
    match call.verb {
        Verb::Post => "AlreadyExists",
        Verb::Get
        | Verb::List
        | Verb::Watch
        | Verb::Event
        | Verb::Patch
        | Verb::Put
        | Verb::Delete => "Conflict",
    }
}

fn status(code: StatusCode, reason: &str) -> Value {
    let message = match reason {
        POLICY => {
            "ValidatingAdmissionPolicy 'need-team' with binding 'need-team' denied request: every CodeSession needs the label team"
                .to_owned()
        }
        other => format!("a fault was injected: {other}"),
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}

/// The reason that the API server gives when a policy refuses.
const POLICY: &str = "Invalid";

fn json_content(headers: &mut HeaderMap) {
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
}

/// A refusal as the API server writes it.
fn refusal(code: StatusCode, reason: &str) -> Response<AnswerBody> {
    let mut answer = Response::new(full(status(code, reason).to_string().into()));
    *answer.status_mut() = code;
    json_content(answer.headers_mut());
    answer
}

/// What whatever stands before a provider shows instead of its answer.
fn web_page(code: StatusCode) -> Response<AnswerBody> {
    let mut answer = plain(code, WEB_PAGE);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, html);
    answer
}

/// An error as whatever stands before a provider writes it.
fn plain(code: StatusCode, text: &'static str) -> Response<AnswerBody> {
    let mut answer = Response::new(full(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = code;
    answer
}
