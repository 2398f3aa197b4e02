//! What reports are sent with.

use super::turns::Turns;
use crate::network::public_post::PublicPost;

/// What reports are sent with.
pub struct Webhooks {
    pub(super) post: PublicPost,
    pub(super) turns: Turns,
}

impl Webhooks {
    /// Sends with `post`.
    pub fn new(post: PublicPost) -> Self {
        Self {
            post,
            turns: Turns::default(),
        }
    }
}
