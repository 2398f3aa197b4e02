//! One message of a conversation.

use serde::Deserialize;

use crate::providers::wire::lenient;

/// What was said, and by whom: `user_message` or `assistant_message`.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) text: Option<String>,
}
