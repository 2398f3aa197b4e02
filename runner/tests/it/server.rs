//! A repository's host on loopback: git over https with basic authentication (`git http-backend`), and the REST APIs of GitHub, GitLab
//! and Gitea for pull requests, in the documented shapes.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// What the host takes.
pub const TOKEN: &str = "sesame-0123456789";

/// A pull request at the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    pub number: u64,
    pub branch: String,
    pub base: String,
    pub title: String,
    pub body: String,
    pub draft: bool,
}

/// What the host does with a creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Usual,
    /// Creates, and answers with an error of a gateway.
    LosesAnswers,
    /// The token may not create.
    Forbids,
}

#[derive(Debug, Default)]
pub struct Seen {
    pub pulls: Vec<Pull>,
    pub mood: Mood,
    /// `METHOD PATH?QUERY` of each request to an API.
    pub requests: Vec<String>,
    /// `Authorization` of each request for a repository; `None` without one.
    pub git: Vec<Option<String>>,
}

#[derive(Clone)]
pub struct Server {
    pub port: u16,
    pub root: PathBuf,
    /// The certificate authority, as PEM.
    pub authority: PathBuf,
    pub seen: Arc<Mutex<Seen>>,
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, from)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Server {
    /// Serves the repositories below `dir/repositories`.
    pub async fn start(dir: &Path) -> Self {
        let authority = dir.join("authority.pem");
        let acceptor = TlsAcceptor::from(Arc::new(tls(&authority)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            root: dir.join("repositories"),
            authority,
            seen: Arc::default(),
        };
        let app = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(Tls { listener, acceptor }, app).await });
        server
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/acme/app.git", self.port)
    }

    pub fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

fn tls(authority: &Path) -> ServerConfig {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    config
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

async fn handle(
    State(server): State<Server>,
    request: Request,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(if path.starts_with("/api/") {
        api(&server, request).await
    } else {
        git(&server, request).await
    })
}

fn header(request: &Request, name: &str) -> Option<String> {
    let value = request.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

async fn api(server: &Server, request: Request) -> Response<Body> {
    let method = request.method().to_string();
    let target = request.uri().path_and_query().unwrap().to_string();
    let path = request.uri().path().to_owned();
    let authorization = header(&request, "authorization").unwrap_or_default();
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let mut seen = server.seen();
    seen.requests.push(format!("{method} {target}"));
    let (kind, scheme) = match path.as_str() {
        "/api/v3/repos/acme/app/pulls" => (Kind::GitHub, "Bearer"),
        "/api/v4/projects/acme%2Fapp/merge_requests" => (Kind::GitLab, "Bearer"),
        "/api/v1/repos/acme/app/pulls" => (Kind::Gitea, "token"),
        _ => return answer(404, &json!({"message": "Not Found"})),
    };
    if authorization != format!("{scheme} {TOKEN}") {
        return answer(401, &json!({"message": "Bad credentials"}));
    }
    if method == "GET" {
        // One page of everything; Gitea's second is empty.
        let empty = target.contains("page=2");
        let list = seen
            .pulls
            .iter()
            .filter(|_| !empty)
            .map(|pull| kind.show(server, pull));
        return answer(200, &list.collect());
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    if seen.mood == Mood::Forbids {
        return answer(
            403,
            &json!({"message": "Resource not accessible by personal access token"}),
        );
    }
    let pull = kind.read(&body, seen.pulls.len() as u64 + 1);
    if seen.pulls.iter().any(|open| open.branch == pull.branch) {
        let said = json!({"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]});
        return answer(422, &said);
    }
    let shown = kind.show(server, &pull);
    seen.pulls.push(pull);
    if seen.mood == Mood::LosesAnswers {
        return answer(502, &json!("bad gateway"));
    }
    answer(201, &shown)
}

#[derive(Clone, Copy)]
enum Kind {
    GitHub,
    GitLab,
    Gitea,
}

impl Kind {
    fn show(self, server: &Server, pull: &Pull) -> Value {
        let at = format!("https://127.0.0.1:{}/acme/app", server.port);
        let number = pull.number;
        match self {
            Self::GitHub => json!({
                "number": number, "html_url": format!("{at}/pull/{number}"), "state": "open",
                "head": {"ref": pull.branch}, "base": {"ref": pull.base},
            }),
            Self::GitLab => json!({
                "id": 1000 + number, "iid": number, "web_url": format!("{at}/-/merge_requests/{number}"),
                "source_branch": pull.branch, "target_branch": pull.base,
                "source_project_id": 5, "target_project_id": 5, "state": "opened",
            }),
            Self::Gitea => json!({
                "number": number, "html_url": format!("{at}/pulls/{number}"), "state": "open",
                "head": {"ref": pull.branch, "repo_id": 5}, "base": {"ref": pull.base, "repo_id": 5},
            }),
        }
    }

    fn read(self, body: &Value, number: u64) -> Pull {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        match self {
            Self::GitHub => Pull {
                number,
                branch: text("head"),
                base: text("base"),
                title: text("title"),
                body: text("body"),
                draft: body["draft"].as_bool().unwrap(),
            },
            Self::GitLab => Pull {
                number,
                branch: text("source_branch"),
                base: text("target_branch"),
                title: text("title"),
                body: text("description"),
                draft: text("title").starts_with("Draft: "),
            },
            Self::Gitea => Pull {
                number,
                branch: text("head"),
                base: text("base"),
                title: text("title"),
                body: text("body"),
                draft: text("title").starts_with("WIP: "),
            },
        }
    }
}

async fn git(server: &Server, request: Request) -> Response<Body> {
    let authorization = header(&request, "authorization");
    server.seen().git.push(authorization.clone());
    let given = authorization
        .and_then(|value| STANDARD.decode(value.strip_prefix("Basic ")?).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|pair| pair.split_once(':').map(|(_, token)| token.to_owned()));
    if given.as_deref() != Some(TOKEN) {
        let mut refused = answer(401, &json!("no"));
        let realm = "Basic realm=\"git\"".parse().unwrap();
        refused.headers_mut().insert("www-authenticate", realm);
        return refused;
    }
    backend(server, request).await
}

/// `git http-backend` by CGI.
async fn backend(server: &Server, request: Request) -> Response<Body> {
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &server.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "bot")
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", request.uri().path())
        .env("QUERY_STRING", request.uri().query().unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = header(&request, name) {
            command.env(variable, value);
        }
    }
    let body = to_bytes(request.into_body(), 64 << 20).await.unwrap();
    let mut child = command
        .env("CONTENT_LENGTH", body.len().to_string())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let written = tokio::spawn(async move {
        let _ = input.write_all(&body).await;
    });
    let output = child.wait_with_output().await.unwrap().stdout;
    let _ = written.await;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap().parse().unwrap();
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
        } else {
            let name: axum::http::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}
