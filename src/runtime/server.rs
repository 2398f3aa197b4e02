//! `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::heartbeat::Heartbeats;

/// Whether the process can do its work.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on it can, or cannot.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it can.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    readiness: Readiness,
    heartbeats: Heartbeats,
}

/// A server that is bound but does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Takes the address. Port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// The address that was taken.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        registry: Arc<Registry>,
        readiness: Readiness,
        heartbeats: Heartbeats,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(Shared {
                registry,
                readiness,
                heartbeats,
            });
        axum::serve(self.listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

/// Alive is who goes round, not who answers: the kubelet starts a process anew whose loops hang.
async fn livez(State(shared): State<Shared>) -> impl IntoResponse {
    let silent = shared.heartbeats.silent();
    if silent.is_empty() {
        return (StatusCode::OK, "ok".to_owned());
    }
    let silent = silent
        .iter()
        .map(|(name, since)| format!("{name}: no sign of life for {} s\n", since.as_secs()));
    (StatusCode::SERVICE_UNAVAILABLE, silent.collect())
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.readiness.get() {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the caches are not filled yet, or the process stops",
        )
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            error.to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get_livez(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A loop that does not go round any more shows in `/livez`, by its name.
    #[tokio::test]
    async fn livez_tells_of_a_loop_that_hangs() {
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = server.address().unwrap();
        let (heartbeats, stop) = (Heartbeats::default(), CancellationToken::new());
        let _stop = stop.clone().drop_guard();
        tokio::spawn(server.serve(
            Arc::new(Registry::default()),
            Readiness::default(),
            heartbeats.clone(),
            stop,
        ));
        let lively = heartbeats.begin("lively", Duration::from_secs(3600));
        lively.beat();
        assert!(get_livez(address).await.starts_with("HTTP/1.1 200 "));
        let _hangs = heartbeats.begin("sessions of team-a", Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
        let answer = get_livez(address).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("sessions of team-a: no sign of life"));
        assert!(!answer.contains("lively"));
    }
}
