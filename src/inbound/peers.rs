//! The other replicas: a hint that comes to one that does not lead is passed on to all of them, and the leader takes it.
//!
//! What is passed on is the delivery as it came, so that it proves there what it proved here; it is passed on once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Set on what another replica has passed on.
pub const RELAYED: HeaderName = HeaderName::from_static("x-codeagent-relayed");
/// Deliveries that are passed on at once; sessions whose hint is dropped are polled all the same.
const MOST_AT_ONCE: usize = 32;
/// Replicas that a name leads to at most.
const MOST_REPLICAS: usize = 16;
/// How long one replica may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The replicas of this installation.
#[derive(Clone, Debug)]
pub struct Peers {
    names: Arc<[String]>,
    permits: Arc<Semaphore>,
}

impl Peers {
    /// Those at these `HOST:PORT`.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            names: names.into(),
            permits: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        }
    }

    /// Passes a delivery on, in the background; whether there is anybody to pass it on to, and room.
    pub fn pass_on(&self, path: &str, headers: HeaderMap, body: Bytes) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return false;
        };
        let (names, path) = (Arc::clone(&self.names), path.to_owned());
        tokio::spawn(async move {
            let _permit = permit;
            for name in names.iter() {
                let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(name));
                let Ok(Ok(addresses)) = found.await else {
                    tracing::warn!(%name, "the other replicas are not found: a provider's webhook may not have reached the leader");
                    continue;
                };
                let posts = addresses.take(MOST_REPLICAS).map(|address| {
                    let post = post(address, name, &path, headers.clone(), body.clone());
                    tokio::time::timeout(TIMEOUT, post)
                });
                // Who does not answer is no replica, or not any more.
                futures::future::join_all(posts).await;
            }
        });
        true
    }
}

async fn post(
    address: SocketAddr,
    host: &str,
    path: &str,
    mut headers: HeaderMap,
    body: Bytes,
) -> Option<()> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    headers.insert(RELAYED, HeaderValue::from_static("true"));
    headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    let mut request = Request::post(path).body(Full::new(body)).ok()?;
    *request.headers_mut() = headers;
    tokio::select! {
        answer = sender.send_request(request) => answer.ok().map(|_| ()),
        _ = connection => None,
    }
}
