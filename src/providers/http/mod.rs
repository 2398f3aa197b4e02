//! The one HTTP stack of all providers.

/// Shared by every connection.
#[derive(Clone, Debug)]
pub struct HttpStack {}
