//! Which objects are to be looked at.

use futures::Stream;
use tokio::sync::mpsc;

/// Sends objects to be looked at. Cheap to clone; sending to a queue that is no longer read does nothing.
///
/// It has no bound of its own: whoever reads it takes everything out at once and keeps each object once.
#[derive(Debug)]
pub struct Queue<T>(mpsc::UnboundedSender<T>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Queue<T> {
    /// A queue and the stream of what is put into it.
    pub fn new() -> (Self, impl Stream<Item = T> + Send + Unpin)
    where
        T: Send,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        (Self(sender), stream)
    }

    /// Asks for a look at `object`.
    pub fn push(&self, object: T) {
        // The reader is gone only while the process stops.
        let _ = self.0.send(object);
    }
}
