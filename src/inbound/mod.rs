//! Providers' webhooks, taken as hints: one says that a session has moved, and the poller looks at it now.
//!
//! ```text
//! provider ─► Ingress ─► listener ─► routes ─► poller       (at the leader)
//!                                      └─────► peers ─► …   (at every other replica: the leader is one of them)
//! ```
//!
//! Nothing that a delivery says is believed, so that a forged or repeated one costs a look at most. Nothing is stored. The port speaks plain
//! HTTP: an Ingress ends TLS, and what a delivery proves it proves by its signature and by an address that nobody else was given.

mod pace;
mod peers;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;

use self::peers::Peers;
use self::routes::{Receiver, router};
use crate::controllers::Context;
use crate::domain::provider_webhook::ProviderWebhooks;
use crate::runtime::listener::{self, ClosedPort, Serving};

/// Connections at once.
const MOST_CONNECTIONS: usize = 256;

/// How providers' webhooks are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Their addresses and secrets.
    pub webhooks: Arc<ProviderWebhooks>,
    /// `HOST:PORT` at which the replicas are found, this one among them. Without any a hint that comes to one that does not lead is dropped.
    pub peers: Vec<String>,
}

/// A server whose address is taken.
#[derive(Debug)]
pub struct Server {
    port: ClosedPort,
    settings: Settings,
}

impl Server {
    /// Takes the address. Port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bind(address: SocketAddr, settings: Settings) -> std::io::Result<Self> {
        Ok(Self {
            port: ClosedPort::bind(address)?,
            settings,
        })
    }

    /// Serves until the process stops.
    pub async fn serve(self, context: Context) {
        let listener = match self.port.open() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the port of providers' webhooks cannot be opened");
                return;
            }
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "takes providers' webhooks");
        }
        let stop = context.stop.clone();
        let Settings { webhooks, peers } = self.settings;
        let receiver = Receiver::new(webhooks, Peers::new(peers), context);
        let serving = Serving {
            certificates: None,
            router: router(receiver),
            most_connections: MOST_CONNECTIONS,
            stop,
        };
        if let Err(error) = listener::serve(listener, serving).await {
            tracing::error!(%error, "providers' webhooks cannot be taken");
        }
    }
}
