//! The Kubernetes client. No call of it waits without a bound: an answer that never comes is a failure after 30 s.
//!
//! A connection can stay open while nobody answers on it: a replica of the API server that hangs, a load balancer that lost its
//! peer. TCP notices that after a quarter of an hour, or never.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use kube::client::{Body, ClientBuilder, DynBody};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

/// How long a call may take, its whole answer included. Of a watch it is the time until the stream begins.
pub const CALL_BOUND: Duration = Duration::from_secs(30);

/// How long a connection may be silent: longer than the API server lets a watch live (290 s, as kube asks for). The watcher
/// notices a silent stream at 295 s by itself; this is the net under everything that reads a stream.
const SILENCE_BOUND: Duration = Duration::from_secs(310);

/// The client for `config`. It repeats nothing by itself: a write that is sent twice is not what was decided.
///
/// # Errors
/// If it cannot be set up: certificates, a proxy.
pub fn bounded(config: Config) -> Result<Client, kube::Error> {
    with_bound(config, CALL_BOUND)
}

fn with_bound(mut config: Config, bound: Duration) -> Result<Client, kube::Error> {
    config.default_retry = false;
    config.read_timeout = Some(SILENCE_BOUND);
    // Otherwise the time that a connection was idle in the pool would count.
    config.reset_reader_on_write = true;
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&Bounded(bound)).build())
}

/// The API server did not answer in time. Whether it did what it was asked is not known.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {0:?}")]
struct NoAnswer(Duration);

struct Bounded(Duration);

impl<S> Layer<S> for Bounded {
    type Service = BoundedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BoundedService {
            inner,
            bound: self.0,
        }
    }
}

struct BoundedService<S> {
    inner: S,
    bound: Duration,
}

type Answer = Response<Either<Full<Bytes>, Box<DynBody>>>;

impl<S> Service<Request<Body>> for BoundedService<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let streams = is_watch(&request);
        let answer = self.inner.call(request);
        let bound = self.bound;
        Box::pin(async move {
            let whole = async move {
                let (head, body) = answer.await?.into_parts();
                let body = if streams {
                    Either::Right(body)
                } else {
                    Either::Left(Full::new(body.collect().await?.to_bytes()))
                };
                Ok(Response::from_parts(head, body))
            };
            tokio::time::timeout(bound, whole)
                .await
                .unwrap_or_else(|_| Err(NoAnswer(bound).into()))
        })
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, Patch, PatchParams, WatchParams};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::write::{Write, WriteError};

    const SHORT: Duration = Duration::from_millis(200);

    /// An API server that says `answer` on every connection, and then neither goes on nor closes it.
    async fn hanging(answer: &'static str) -> Api<ConfigMap> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                open.push(stream);
            }
        });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        Api::namespaced(with_bound(config, SHORT).unwrap(), "default")
    }

    /// Neither a head nor the rest of a body that does not come holds a call up for longer than its bound.
    #[tokio::test]
    async fn no_call_waits_for_ever() {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{";
        for answer in ["", head] {
            let api = hanging(answer).await;
            let calls = async {
                let read = api.get_opt("one").await.map(drop);
                let listed = api.list(&Default::default()).await.map(drop);
                let patch = Patch::Merge(serde_json::json!({}));
                let patched = api.patch("one", &PatchParams::default(), &patch).await;
                let object = ConfigMap::default();
                let written = Write::if_same(&object).to_object(&api, "one").await;
                (read, listed, patched.map(drop), written)
            };
            let (read, listed, patched, written) =
                tokio::time::timeout(Duration::from_secs(20), calls)
                    .await
                    .unwrap();
            for failed in [read, listed, patched] {
                assert!(matches!(failed, Err(kube::Error::Service(_))), "{failed:?}");
            }
            assert!(matches!(written, Err(WriteError::Failed(_))), "{written:?}");
        }
    }

    /// A watch that has begun goes on for as long as it likes; one that does not begin ends.
    #[tokio::test]
    async fn a_watch_may_be_silent_once_it_has_begun() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        let begun = hanging(head).await;
        let mut stream = Box::pin(begun.watch(&WatchParams::default(), "0").await.unwrap());
        let next = futures::StreamExt::next(&mut stream);
        assert!(tokio::time::timeout(SHORT * 3, next).await.is_err());
        let never = hanging("").await;
        let parameters = WatchParams::default();
        let watch = never.watch(&parameters, "0");
        assert!(matches!(
            watch.await.map(drop),
            Err(kube::Error::Service(_))
        ));
    }
}
