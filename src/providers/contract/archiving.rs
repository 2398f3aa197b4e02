//! Putting ended sessions away at the provider.

use async_trait::async_trait;

use crate::domain::ids::SessionId;
use crate::domain::remote::ProviderError;

/// Archives the sessions of one account.
#[async_trait]
pub trait Archiving: Send + Sync {
    /// Archives a session that has ended. One POST; safe to repeat: one that is archived already is no error. Starts and stops
    /// nothing.
    ///
    /// # Errors
    /// [`ErrorClass::NotFound`](crate::domain::remote::ErrorClass::NotFound) if this account has no such session;
    /// [`ErrorClass::Conflict`](crate::domain::remote::ErrorClass::Conflict) if something runs on it.
    async fn archive(&self, session: &SessionId) -> Result<(), ProviderError>;
}
