//! Connections: TLS, HTTP/1.1, and the limits of both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a reader may take nothing at all of what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest head of a request, in bytes: a token has some two thousand.
const LARGEST_HEAD: usize = 32 << 10;
/// What is buffered of one connection, in bytes.
const BUFFER: usize = 64 << 10;
/// What the system buffers of one connection, in bytes: without a bound it grows to megabytes for who does not read.
const SEND_BUFFER: u32 = 128 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long connections may take to end once the process stops.
const GRACE: Duration = Duration::from_secs(5);
/// After a failure to accept: there may be no file descriptors left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A port that is taken, and closed until it [opens](ClosedPort::open): whoever connects is refused instead of kept waiting.
#[derive(Debug)]
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    /// Takes the address. Port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // As every listener of tokio: a restart finds connections of before that are not over yet.
        socket.set_reuseaddr(true)?;
        // Every connection inherits it.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        Ok(Self(socket))
    }

    /// Accepts connections from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(self) -> std::io::Result<TcpListener> {
        self.0.listen(BACKLOG)
    }
}

/// What connections are served with.
pub struct Serving {
    /// The certificate, another one at any time; without one, what is in front of the operator ends TLS.
    pub certificates: Option<Arc<dyn ResolvesServerCert>>,
    /// What is served.
    pub router: Router,
    /// Connections at once; more wait until others have ended.
    pub most_connections: usize,
    /// Set when the process stops.
    pub stop: CancellationToken,
}

/// Serves until the process stops, and then for as long as its connections may take to end.
///
/// # Errors
/// If TLS cannot be set up.
pub async fn serve(listener: TcpListener, serving: Serving) -> Result<(), rustls::Error> {
    let tls = serving.certificates.map(tls).transpose()?;
    let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    let (stop, router) = (serving.stop, serving.router);
    let connections = Arc::new(Semaphore::new(serving.most_connections));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tasks.spawn(async move {
            // An event is one small write, which must not wait for the next.
            let _ = stream.set_nodelay(true);
            match acceptor {
                Some(acceptor) => encrypted(stream, &acceptor, router, stop).await,
                None => connection(stream, router, stop).await,
            }
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    // Whoever is left is cut off with the process.
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
    Ok(())
}

fn tls(certificates: Arc<dyn ResolvesServerCert>) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, Permit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "no connection could be accepted");
            tokio::time::sleep(AFTER_FAILURE).await;
            None
        }
    }
}

/// Serves one connection with TLS to its end.
async fn encrypted(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) {
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    if let Ok(Ok(stream)) = accepted.await {
        connection(stream, router, stop).await;
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    router: Router,
    stop: CancellationToken,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(BUFFER);
    let served = http.serve_connection(
        TokioIo::new(Box::pin(stream)),
        TowerToHyperService::new(router),
    );
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // What goes wrong on a connection is told to its reader, as far as it can be.
        _ = served.as_mut() => return,
        () = stop.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}
