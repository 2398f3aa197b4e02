//! A provider as decisions see it: what it can do, what it answers and what can go wrong. Adapters and decisions talk in these words.

mod answer;
mod capability;
mod error;

pub use self::answer::{
    Account, AdoptAnswer, CancelAnswer, Found, Launched, Messaged, PageToken, ScanState, SessionRef,
};
pub use self::capability::{
    CancelVisibility, Capability, MessageRecovery, ProviderCapabilities, unsupported_message,
};
pub use self::error::{ErrorClass, ProviderError, Sent, Subject};
pub use crate::api::Recovery;
