//! The last check before a POST's bytes go out (rule 5 of the launch protocol).
//!
//! hyper encodes an HTTP/1.1 request's head into a buffer and asks for the body before it writes that buffer. The body's
//! first poll is thus the last moment at which nothing has left the process, and an error there leaves it that way. The
//! gate is decided exactly once: by the body ("released") or by whoever gave up waiting ("shut"). A request that was
//! given up before its body was asked for can therefore never go out later.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use jiff::Timestamp;

/// The moment after which a launch must not be sent any more (rule 5 of the launch protocol).
#[derive(Clone, Copy, Debug)]
pub struct SendWindow {
    /// By wall clock: `notAfter` of the claim.
    pub not_after: Timestamp,
    /// By monotonic clock: when the claim's write was begun.
    pub opened: Instant,
    /// How long after `opened` the first byte may still be written.
    pub length: Duration,
}

impl SendWindow {
    /// Whether sending may still begin, by both clocks.
    pub fn is_open(&self) -> bool {
        Timestamp::now() < self.not_after && self.opened.elapsed() < self.length
    }
}

const UNDECIDED: u8 = 0;
const RELEASED: u8 = 1;
const SHUT: u8 = 2;

/// Whether the bytes of one POST may go out, or went.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    state: Arc<AtomicU8>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::new(AtomicU8::new(UNDECIDED)),
        }
    }

    /// Shuts the gate; true if it had not been released, so that nothing was and nothing will be written.
    pub(super) fn shut(&self) -> bool {
        !self.released(SHUT)
    }

    /// Decides for `wanted` unless the gate is decided already; whether it is released then.
    fn released(&self, wanted: u8) -> bool {
        let decided = match self.state.compare_exchange(
            UNDECIDED,
            wanted,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => wanted,
            Err(earlier) => earlier,
        };
        decided == RELEASED
    }
}

/// A gate that is shut as soon as nobody waits for the request any more, also when the waiting future is dropped.
pub(super) struct ShutOnDrop(pub(super) Gate);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        self.0.shut();
    }
}

/// The request was held back by the last check.
#[derive(Debug, thiserror::Error)]
#[error("the send window has closed")]
pub(super) struct HeldBack;

/// The body of a POST: all of `bytes` in one piece, if the gate and the window are open when it is asked for.
pub(super) struct GatedBody {
    bytes: Option<Bytes>,
    window: SendWindow,
    gate: Gate,
}

impl GatedBody {
    pub(super) fn new(bytes: Bytes, window: SendWindow, gate: Gate) -> Self {
        Self {
            bytes: Some(bytes),
            window,
            gate,
        }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = HeldBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HeldBack>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        let wanted = if self.window.is_open() {
            RELEASED
        } else {
            SHUT
        };
        Poll::Ready(Some(if self.gate.released(wanted) {
            Ok(Frame::data(bytes))
        } else {
            Err(HeldBack)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.bytes
                .as_ref()
                .map_or(0, |bytes| bytes.len().try_into().unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt;

    use super::*;

    fn window(length: Duration) -> SendWindow {
        SendWindow {
            not_after: Timestamp::now() + Duration::from_secs(60),
            opened: Instant::now(),
            length,
        }
    }

    #[tokio::test]
    async fn an_open_window_releases_the_body_and_it_cannot_be_taken_back() {
        let gate = Gate::new();
        let body = GatedBody::new("{}".into(), window(Duration::from_secs(60)), gate.clone());
        assert_eq!(body.size_hint().exact(), Some(2));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{}");
        assert!(!gate.shut());
    }

    #[tokio::test]
    async fn a_closed_window_holds_the_body_back() {
        let gate = Gate::new();
        let body = GatedBody::new("{}".into(), window(Duration::ZERO), gate.clone());
        assert!(body.collect().await.is_err());
        assert!(gate.shut());
    }

    #[tokio::test]
    async fn what_was_given_up_before_it_was_written_is_never_written() {
        let gate = Gate::new();
        let body = GatedBody::new("{}".into(), window(Duration::from_secs(60)), gate.clone());
        drop(ShutOnDrop(gate));
        assert!(body.collect().await.is_err());
    }
}
