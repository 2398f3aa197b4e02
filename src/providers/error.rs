//! Errors of providers, under the name adapters know them by.

pub use crate::domain::remote::{ErrorClass, ProviderError, Sent, Subject};
