//! A reader: a ServiceAccount with a token, and a client that trusts the authority of the operator's certificate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codeagent_operator::domain::timeline::{Event, EventType};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use reqwest::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::operator::{Arguments, Operator};
use crate::support::world::{PATIENCE, World};

/// The Secret of the serving certificate.
pub const SECRET: &str = "codeagent-operator-timeline-tls";

/// An operator that serves timelines.
pub fn serving() -> Arguments {
    Arguments::calm().with("--timeline-bind-address", "127.0.0.1:0")
}

/// Where the operator serves timelines, once it does.
pub async fn address(world: &World, operator: &Operator) -> String {
    let find = || {
        let log = operator.log();
        let (_, rest) = log.split_once("serves timelines address=127.0.0.1:")?;
        let port = rest.split_whitespace().next()?;
        Some(format!("https://localhost:{port}"))
    };
    world
        .until_true("timelines are served", || find().is_some())
        .await;
    find().unwrap()
}

/// Who reads.
pub struct Reader {
    pub token: String,
    client: reqwest::Client,
}

/// What was answered.
#[derive(Debug)]
pub struct Answered {
    pub code: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answered {
    /// Asserts that it is a `Status` with this code and reason; answers with its message.
    pub fn refused(&self, code: u16, reason: &str) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.body["kind"], "Status", "{self:?}");
        assert_eq!(self.body["apiVersion"], "v1", "{self:?}");
        assert_eq!(self.body["code"], code, "{self:?}");
        assert_eq!(self.body["reason"], reason, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        self.body["message"].as_str().unwrap().to_owned()
    }

    /// Its events.
    pub fn events(&self) -> Vec<Event> {
        assert_eq!(self.code, 200, "{self:?}");
        serde_json::from_value(self.body["events"].clone()).unwrap()
    }
}

impl Reader {
    /// A ServiceAccount of this name, which may do nothing yet.
    pub async fn new(world: &World, name: &str) -> Self {
        let accounts: Api<ServiceAccount> = world.namespace.api();
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let params = PostParams::default();
        accounts.create(&params, &account).await.unwrap();
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let issued = accounts.create_token_request(name, &params, &request);
        let token = issued.await.unwrap().status.unwrap().token;
        Self {
            token,
            client: client(world).await,
        }
    }

    /// A ServiceAccount of this name, which may read timelines.
    pub async fn permitted(world: &World, name: &str) -> Self {
        Self::permitted_to(world, name, "codesessions/events").await
    }

    /// A ServiceAccount of this name, which may read this.
    pub async fn permitted_to(world: &World, name: &str, resource: &str) -> Self {
        let reader = Self::new(world, name).await;
        let namespace = world.name();
        let manifests = format!(
            "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}}}
rules: [{{apiGroups: [codeagents.dev], resources: [{resource}], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]
"
        );
        world.namespace.apply_manifests(&manifests).await.unwrap();
        reader
    }

    /// The same reader with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            client: self.client.clone(),
        }
    }

    /// What is answered to this.
    pub async fn ask(&self, method: Method, url: &str) -> Answered {
        let mut request = self.client.request(method, url);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        let answer = request.send().await.unwrap();
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Answered {
            code,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    /// What is answered to a GET of it.
    pub async fn get(&self, url: &str) -> Answered {
        self.ask(Method::GET, url).await
    }

    /// The same, once it is answered with this code: permissions and caches take a moment.
    pub async fn until_code(&self, url: &str, code: u16) -> Answered {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answered = self.get(url).await;
            if answered.code == code {
                return answered;
            }
            assert!(
                Instant::now() < deadline,
                "{url} is not {code}: {answered:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Begins to follow.
    pub async fn follow(&self, url: &str) -> Following {
        let answer = self.client.get(url).bearer_auth(&self.token).send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        Following {
            body: answer.bytes_stream().map_err(|_| ()).boxed(),
            read: Vec::new(),
        }
    }

    /// The same, by a connection that takes nothing that is not read.
    pub async fn follow_slowly(&self, world: &World, url: &str) -> Following {
        let (address, path) = url.split_at(url.find("/v1alpha1").unwrap());
        let authority = authority(world).await;
        let stream = TokioIo::new(connect_narrowly(&authority, address).await);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(8192)
            .handshake(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", self.token))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().into_data_stream();
        Following {
            // With the sender the connection would end.
            body: body
                .map_err(move |_| {
                    let _ = &sender;
                })
                .boxed(),
            read: Vec::new(),
        }
    }
}

/// A connection that keeps next to nothing of what is not read.
async fn connect_narrowly(authority: &[u8], address: &str) -> TlsStream<TcpStream> {
    let port = address.rsplit(':').next().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let stream = socket.connect(address).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority).unwrap())
        .unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

/// A client that trusts the authority of the operator's certificate.
async fn client(world: &World) -> reqwest::Client {
    let authority = authority(world).await;
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([authority])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// The authority of the operator's certificate, as PEM, once it has made one.
pub async fn authority(world: &World) -> Vec<u8> {
    let secrets: Api<Secret> = world.namespace.api();
    let deadline = Instant::now() + PATIENCE;
    let secret = loop {
        if let Some(secret) = secrets.get_opt(SECRET).await.unwrap() {
            break secret;
        }
        assert!(Instant::now() < deadline, "there is no Secret {SECRET}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    secret.data.unwrap().remove("ca.crt").unwrap().0
}

/// A timeline that is followed.
pub struct Following {
    body: BoxStream<'static, Result<bytes::Bytes, ()>>,
    read: Vec<u8>,
}

/// One line.
#[derive(Debug)]
pub enum Told {
    Event(Event),
    /// The last line, a `Status`.
    Last(Value),
    /// The connection was cut without a last line.
    Cut,
}

impl Following {
    /// The next line that is not empty.
    pub async fn next(&mut self) -> Told {
        loop {
            while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                if line.len() > 1 {
                    return told(&line);
                }
            }
            let part = tokio::time::timeout(PATIENCE, self.body.next());
            match part.await.expect("something is told in time") {
                Some(Ok(part)) => self.read.extend_from_slice(&part),
                Some(Err(_)) | None => return Told::Cut,
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        match self.next().await {
            Told::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    /// All events until the last line, and that line.
    pub async fn until_end(&mut self) -> (Vec<Event>, Value) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Told::Event(event) => events.push(event),
                Told::Last(status) => return (events, status),
                Told::Cut => panic!("cut after {events:?}"),
            }
        }
    }
}

fn told(line: &[u8]) -> Told {
    let line: Value = serde_json::from_slice(line).unwrap();
    if line["kind"] == "Status" {
        Told::Last(line)
    } else {
        Told::Event(serde_json::from_value(line).unwrap())
    }
}

/// Asserts that no number is missing between `since` and the last of `events`.
pub fn assert_dense(events: &[Event], since: u64) {
    let mut last = since;
    for event in events {
        match event.entry.kind {
            EventType::Gap => assert!(event.seq > last, "{events:#?}"),
            _ => assert_eq!(event.seq, last + 1, "{events:#?}"),
        }
        last = event.seq;
    }
}

/// The URL of a session's timeline.
pub fn url(address: &str, world: &World, session: &str, query: &str) -> String {
    url_of(address, world, session, &format!("events{query}"))
}

/// The URL of something of a session.
pub fn url_of(address: &str, world: &World, session: &str, what: &str) -> String {
    let namespace = world.name();
    format!("{address}/v1alpha1/namespaces/{namespace}/codesessions/{session}/{what}")
}
