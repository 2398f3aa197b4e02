//! The timelines of sessions, what they left and their live views, served over HTTPS to whom the cluster's RBAC lets read them.
//!
//! ```text
//! listener ─► access ─► routes ─► source ─► provider
//! (TLS, HTTP)  (who, may)          (a page)
//!                          └────► follow ─► ring ◄─ upstream ─► provider
//!                                 (each reader)     (one reading for all)
//! ```
//!
//! Every replica serves, whether it leads or not: nothing is written but the certificate's Secret. What an agent did is held in memory
//! while somebody reads it, and nowhere else.

mod access;
mod answer;
mod artifacts;
mod certificate;
mod follow;
mod keeper;
mod request;
mod ring;
mod routes;
mod source;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::access::Access;
pub use self::follow::FollowerLimits;
use self::follow::Hub;
pub use self::keeper::CertificateSource;
use self::keeper::Keeper;
use self::routes::{Handlers, MOST_PAGES, router};
use self::source::Sources;
use crate::controllers::Context;
use crate::controllers::error::Chain;
use crate::runtime::listener::{self, ClosedPort, Serving};

/// Connections beside those of followers.
const MOST_OTHERS: usize = 256;
/// How often the certificate is looked at, in times of the interval at which Secrets are read again: 5 min by default.
const CERTIFICATE_CHECKS: u32 = 30;

/// How timelines are served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's own namespace.
    pub namespace: String,
    /// The Service by which readers in the cluster reach it, for the certificate's names.
    pub service: String,
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// How many may follow.
    pub followers: FollowerLimits,
}

impl Settings {
    /// The names that the certificate is for: the Service's, and those that a forwarded port has.
    fn names(&self) -> Vec<String> {
        let Self {
            namespace, service, ..
        } = self;
        vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ]
    }
}

/// A server whose address is taken. Its port is closed until it can let readers in.
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

    /// Opens the port once there is a certificate and the operator may ask the cluster about its readers, and serves until the process
    /// stops. What stands in the way is logged, and tried again.
    pub async fn serve(self, context: Context) {
        let stop = context.stop.clone();
        tokio::select! {
            () = self.prepare_and_serve(context) => {}
            () = async {
                stop.cancelled().await;
                // Its connections have their own, shorter time to end.
                tokio::time::sleep(Duration::from_secs(10)).await;
            } => {}
        }
    }

    async fn prepare_and_serve(self, context: Context) {
        let Self { port, settings } = self;
        let access = Arc::new(Access::new(context.client.clone()));
        let names = settings.names();
        let mut keeper = Keeper::new(
            context.client.clone(),
            &settings.namespace,
            settings.certificate,
            names,
        );
        let mut said = String::new();
        loop {
            let prepared = async {
                let now = OffsetDateTime::now_utc();
                let made = keeper.check(now).await;
                made.map_err(|error| Chain(&error).to_string())?;
                access.may_review().await
            };
            match prepared.await {
                Ok(()) => break,
                Err(why) => {
                    if why != said {
                        tracing::error!(
                            why,
                            "the port of timelines stays closed; it is tried again"
                        );
                        said = why;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(context.timing().recheck) => {}
                () = context.stop.cancelled() => return,
            }
        }
        let listener = match port.open() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the port of timelines cannot be opened");
                return;
            }
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "serves timelines");
        }
        let stop = context.stop.clone();
        let handlers = handlers(&context, access, settings.followers);
        let sources = Arc::clone(&handlers.sources);
        let serving = Serving {
            certificates: Some(keeper.certificates()),
            router: router(handlers),
            most_connections: settings.followers.in_all.saturating_add(MOST_OTHERS),
            stop: stop.clone(),
        };
        let interval = context.timing().recheck.saturating_mul(CERTIFICATE_CHECKS);
        tokio::select! {
            served = listener::serve(listener, serving) => {
                if let Err(error) = served {
                    tracing::error!(%error, "timelines cannot be served");
                }
            }
            () = keep(&mut keeper, interval, stop) => {}
            () = sources.expire() => {}
        }
    }
}

fn handlers(context: &Context, access: Arc<Access>, followers: FollowerLimits) -> Arc<Handlers> {
    let sources = Arc::new(Sources::new(context.clone()));
    let hub = Hub::new(
        context.clone(),
        Arc::clone(&sources),
        Arc::clone(&access),
        followers,
    );
    Arc::new(Handlers {
        access,
        sources,
        hub: Arc::new(hub),
        pages: Arc::new(Semaphore::new(MOST_PAGES)),
        metrics: context.metrics.clone(),
    })
}

/// Looks at the certificate again and again. Never ends: connections are served for a moment longer than the process runs.
async fn keep(keeper: &mut Keeper, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => std::future::pending().await,
        }
        if let Err(error) = keeper.check(OffsetDateTime::now_utc()).await {
            tracing::warn!(error = %Chain(&error), "the serving certificate could not be looked at; the one of before is served");
        }
    }
}
