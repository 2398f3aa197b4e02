//! Who sends next: a receiver that hangs holds a few connections, and never those of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::runtime::lock::lock;

/// Connections to one receiver.
const EACH: usize = 4;
/// Sessions that wait for a connection to one receiver.
const WAITING: usize = 32;

/// The receivers, by the host and port of their URL.
#[derive(Default)]
pub(super) struct Turns {
    receivers: Mutex<HashMap<String, Weak<Receiver>>>,
}

struct Receiver {
    sending: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A connection that may be opened. Dropping it ends the turn.
pub(super) struct Turn {
    _sending: OwnedSemaphorePermit,
    _receiver: Arc<Receiver>,
}

impl Turns {
    /// A turn at the receiver of this URL; `None` if so many wait for it that it is better to come again.
    pub(super) async fn wait(&self, url: &str) -> Option<Turn> {
        let receiver = self.receiver(url);
        let waiting = Arc::clone(&receiver.waiting).try_acquire_owned().ok()?;
        // It is never closed.
        let sending = Arc::clone(&receiver.sending).acquire_owned().await.ok()?;
        drop(waiting);
        Some(Turn {
            _sending: sending,
            _receiver: receiver,
        })
    }

    fn receiver(&self, url: &str) -> Arc<Receiver> {
        let of = Url::parse(url).ok().and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(format!("{host}:{}", url.port_or_known_default()?))
        });
        let mut receivers = lock(&self.receivers);
        // What cannot be dialled shares one place.
        let of = of.unwrap_or_default();
        if let Some(known) = receivers.get(&of).and_then(Weak::upgrade) {
            return known;
        }
        receivers.retain(|_, known| known.strong_count() > 0);
        let receiver = Arc::new(Receiver {
            sending: Arc::new(Semaphore::new(EACH)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        });
        receivers.insert(of, Arc::downgrade(&receiver));
        receiver
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;

    use super::*;

    /// However many wait for one receiver: another one is served at once, and who finds too many waiting is told so.
    #[tokio::test]
    async fn a_receiver_that_hangs_holds_its_own_turns_alone() {
        let turns = Turns::default();
        let hangs = "https://hangs.example.com/a";
        let mut held = Vec::new();
        for _ in 0..EACH {
            held.push(turns.wait(hangs).now_or_never().unwrap().unwrap());
        }
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            let mut next = Box::pin(turns.wait(hangs));
            assert!(next.as_mut().now_or_never().is_none());
            waiting.push(next);
        }
        let crowded = turns.wait("https://hangs.example.com:443/b").now_or_never();
        assert!(crowded.unwrap().is_none());
        let other = turns.wait("https://other.example.com/").now_or_never();
        assert!(other.unwrap().is_some());
        held.clear();
        assert!(waiting.remove(0).await.is_some());
        drop(waiting);
        assert_eq!(lock(&turns.receivers).len(), 2);
        drop(turns.wait("https://third.example.com/").await);
        assert_eq!(lock(&turns.receivers).len(), 1, "nothing lingers");
    }
}
