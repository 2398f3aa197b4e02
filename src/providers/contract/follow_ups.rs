//! Follow-up messages to a session.

use async_trait::async_trait;

use super::find::AdoptRequest;
use crate::api::ModelSpec;
use crate::domain::image::Image;
use crate::domain::remote::{AdoptAnswer, ProviderError, SessionRef};
use crate::domain::send::answer::MessageOutcome;
use crate::providers::http::SendWindow;

/// Sending further messages to a session.
#[async_trait]
pub trait FollowUps: Send + Sync {
    /// What is there before a message to `session`: goes into the claim and from there into [`AdoptRequest::baseline`], with
    /// [`MessageRecovery::Baseline`](super::MessageRecovery::Baseline). At most 4096 bytes of text that only this adapter understands, without
    /// anything secret. Reads only. Default: there is nothing to compare.
    ///
    /// # Errors
    /// If the provider cannot be read now; with [`Subject::Busy`](super::Subject::Busy) if the session works on something, as long as
    /// it takes no message meanwhile. Nothing is claimed before it can.
    async fn newest(&self, _session: &SessionRef) -> Result<Option<String>, ProviderError> {
        Ok(None)
    }

    /// Sends a message: **a paid call**, under the same contract as [`Provider::launch`](super::Provider::launch).
    async fn send(&self, request: &MessageRequest) -> MessageOutcome;

    /// Looks for the message [`AdoptRequest::message`] to `session`, whose sending had an unknown outcome. Reads only.
    ///
    /// `Found` tells in its snapshot the session and the run that work on the message. `Absent` only if the look was complete, and what
    /// was sent would show. `Ambiguous` if there is more than one message can have started and ours cannot be told from the rest.
    async fn find(
        &self,
        session: &SessionRef,
        lost: &AdoptRequest,
    ) -> Result<AdoptAnswer, ProviderError>;
}

/// A message that is sent.
#[derive(Clone, Debug)]
pub struct MessageRequest {
    /// The session that it is sent to.
    pub session: SessionRef,
    /// Text and marker line, as they are to be sent.
    pub prompt: String,
    /// Images beside the text, as in [`LaunchRequest::images`](super::LaunchRequest::images).
    pub images: Vec<Image>,
    /// The model that is to work on it; `None` leaves it. Given only with [`Capability::Model`](super::Capability::Model).
    pub model: Option<ModelSpec>,
    /// When this must not be sent any more.
    pub window: SendWindow,
}
