//! The models that a provider lets people choose.

use async_trait::async_trait;

use crate::domain::remote::ProviderError;

/// The most models that are kept.
pub const MAX_MODELS: usize = 100;

/// Tells the models of one account. Reads only.
#[async_trait]
pub trait Models: Send + Sync {
    /// The models that may be chosen, at most [`MAX_MODELS`].
    async fn list_models(&self) -> Result<Vec<String>, ProviderError>;
}
