//! What a pass over a session comes to.

use std::sync::Arc;
use std::time::Duration;

use crate::api::CodeSession;
use crate::domain::requeue::Again;

/// What a pass came to.
pub(super) enum Step {
    /// Something was done: look again at once, at this version.
    Go(Arc<CodeSession>),
    /// Nothing to do for now.
    Rest(Again),
    /// The object is not what it was: the watch will bring the newer one.
    Stale,
    /// The object is gone.
    Gone,
    /// An effect of the object is under way in a task of its own, which wakes it.
    Handed {
        /// When something is due that does not wait for it, exactly.
        due: Option<Duration>,
    },
    /// Its effect waits for a permit of the connection, and is woken when there is one.
    Queued {
        /// When something else is due for the object, exactly.
        due: Option<Duration>,
    },
}
