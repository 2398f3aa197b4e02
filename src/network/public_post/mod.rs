//! One POST to a URL that a user of the cluster chose, over a connection of its own that goes to a checked address and nowhere else.
//!
//! Not over the HTTP client of the providers: a client asks its resolver for names alone, uses the environment's proxies and kept
//! connections, and each of them passes by a check. Here the URL is parsed, its name resolved, every address checked, one of them dialled
//! and the peer looked at once more; the certificate must be the name's. Redirects are not followed. Everything has a bound.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{is_public, unwrapped};
use super::retry_after::retry_after;
use super::target::Target;
pub use super::target::UrlError;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;
/// Headers of an answer.
const MOST_HEADERS: usize = 64;
/// Largest head of an answer, in bytes.
const LARGEST_HEAD: usize = 64 << 10;
/// Of a body that much is read, so that the receiver can end its answer; nobody looks at it.
const MOST_BODY: usize = 64 << 10;
/// For so long the body is waited for.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// Longest `Retry-After` that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The URL is not used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// It has no address.
    #[error("the name {name} cannot be resolved")]
    Unresolved {
        /// The host.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// An address is not public: nothing was sent.
    #[error("{host} has an address that is not public: nothing was sent")]
    NotPublic {
        /// The host.
        host: String,
    },
    /// No address answers.
    #[error("no connection to {host}")]
    Connect {
        /// The host.
        host: String,
        /// Why the last address did not answer.
        source: io::Error,
    },
    /// The certificate is not the name's, or it is not TLS.
    #[error("no TLS with {host}: {why}")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The answer is not HTTP, or its head is too large.
    #[error("{host} did not answer as a web server does: {source}")]
    Http {
        /// The host.
        host: String,
        /// Why.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// TLS cannot be set up in this process.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// What was answered: the status alone, and how long the server asks to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// `Retry-After`, at least a second, at most a day.
    pub retry_after: Option<Duration>,
}

/// Where a name leads.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of `host`.
    ///
    /// # Errors
    /// If there is none, or nobody could tell.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Sends POSTs to public addresses.
pub struct PublicPost {
    resolver: Box<dyn Resolver>,
    /// Whether plain http is used, and this machine's own addresses count as public; for development.
    development: bool,
    extra_ca_bundle: Option<Vec<u8>>,
    user_agent: HeaderValue,
    /// Set up with the first request: reading the system's certificates takes its time.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl PublicPost {
    /// Nothing is set up yet. `development` allows plain http and this machine's own addresses. `extra_ca_bundle` holds certificates in
    /// PEM that are trusted besides the system's.
    pub fn new(development: bool, extra_ca_bundle: Option<Vec<u8>>) -> Self {
        Self {
            resolver: Box::new(SystemResolver),
            development,
            extra_ca_bundle,
            user_agent: HeaderValue::from_static(concat!(
                "codeagent-operator/",
                env!("CARGO_PKG_VERSION")
            )),
            tls: OnceLock::new(),
        }
    }

    /// The same, with another resolver.
    #[must_use]
    pub fn resolving_with(self, resolver: Box<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// Sends `body` to `url` and answers with the status, all within `within`.
    ///
    /// # Errors
    /// If nothing was sent, or no status came back in time: then it is not known whether the receiver has it.
    pub async fn send(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, PostError> {
        timeout(within, self.send_unbounded(url, headers, body, within))
            .await
            .unwrap_or(Err(PostError::Timeout(within)))
    }

    async fn send_unbounded(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, PostError> {
        let target = Target::parse(url, self.development)?;
        let tcp = self.connect(&target, within / 2).await?;
        let request = request(&target, headers, &self.user_agent, body);
        if !target.secure {
            return exchange(tcp, request, &target.host).await;
        }
        let broken = |why: String| PostError::Tls {
            host: target.host.clone(),
            why,
        };
        let name = ServerName::try_from(target.bare_host().to_owned())
            .map_err(|error| broken(error.to_string()))?;
        let config = self.tls()?;
        let tls = TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|error| broken(error.to_string()))?;
        exchange(tls, request, &target.host).await
    }

    /// A connection to an address of the target. All of them must be public, because each may be the one that is dialled.
    async fn connect(&self, target: &Target, each: Duration) -> Result<TcpStream, PostError> {
        let host = || target.host.clone();
        let addresses = match target.literal {
            Some(address) => vec![SocketAddr::new(address, target.port)],
            None => self
                .resolver
                .resolve(&target.host, target.port)
                .await
                .map_err(|source| PostError::Unresolved {
                    name: host(),
                    source,
                })?,
        };
        let not_public = || PostError::NotPublic { host: host() };
        if !addresses.iter().all(|address| self.allows(address)) {
            return Err(not_public());
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            match timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let peer = stream.peer_addr();
                    return match peer {
                        Ok(peer) if self.allows(&peer) => Ok(stream),
                        Ok(_) | Err(_) => Err(not_public()),
                    };
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        Err(PostError::Connect {
            host: host(),
            source: last,
        })
    }

    fn allows(&self, address: &SocketAddr) -> bool {
        let ip = address.ip();
        is_public(ip) || (self.development && unwrapped(ip).is_loopback())
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, PostError> {
        self.tls
            .get_or_init(|| client_config(self.extra_ca_bundle.as_deref()))
            .clone()
            .map_err(PostError::Setup)
    }
}

impl fmt::Debug for PublicPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicPost")
            .field("development", &self.development)
            .finish_non_exhaustive()
    }
}

/// TLS 1.2 and 1.3, with the system's certificate authorities and those of the bundle.
fn client_config(extra_ca_bundle: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .ok_or("no cryptography provider is installed")?;
    let extra = CertificateDer::pem_slice_iter(extra_ca_bundle.unwrap_or_default())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the CA bundle cannot be read: {error}"))?;
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
            .map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        // The name is rustls's for any verifier but its own; this one is the platform's.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn request(
    target: &Target,
    headers: HeaderMap,
    user_agent: &HeaderValue,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = http::Method::POST;
    // A path that the URL parser has written is one that HTTP takes.
    *request.uri_mut() = target.path.parse().unwrap_or_default();
    *request.headers_mut() = headers;
    let own: [(HeaderName, Option<HeaderValue>); 3] = [
        (header::HOST, HeaderValue::from_str(&target.authority).ok()),
        (header::USER_AGENT, Some(user_agent.clone())),
        (header::CONNECTION, Some(HeaderValue::from_static("close"))),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// One request and its status. What the body says is not looked at: whoever has answered with a status has decided.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    host: &str,
) -> Result<Answer, PostError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |source| PostError::Http {
        host: host.to_owned(),
        source,
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Ended with this call, however it ends.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let answer = Answer {
        code: response.status().as_u16(),
        retry_after: retry_after(response.headers(), SystemTime::now(), LONGEST_PAUSE),
    };
    let mut body = response.into_body();
    let read = async {
        let mut read = 0;
        while read < MOST_BODY
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // A body that does not end is left.
    let _ = timeout(BODY_PATIENCE, read).await;
    Ok(answer)
}

#[cfg(test)]
mod tests;
