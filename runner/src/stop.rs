//! The wish to stop: SIGTERM, which Kubernetes sends to PID 1, or SIGINT.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the runner was told to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on. Without this, PID 1 ignores both signals.
    ///
    /// # Errors
    /// No signals can be received.
    pub fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (told, stop) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = told.send(true);
            // Whoever waits sees the value, not the end of the channel.
            told.closed().await;
        });
        Ok(Self(stop))
    }

    /// Resolves once it was told to stop, at once if it was told before.
    pub async fn requested(&self) {
        let mut told = self.0.clone();
        if told.wait_for(|told| *told).await.is_err() {
            // The listener is gone: there is nobody left to tell.
            std::future::pending().await
        }
    }

    pub fn was_requested(&self) -> bool {
        *self.0.borrow()
    }
}
