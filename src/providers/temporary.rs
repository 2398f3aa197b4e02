//! What lets in whoever has it: handed to the one who asked, and written nowhere.

use std::fmt;

/// A URL that lets in whoever has it: https, one line of ASCII, exactly as the provider wrote it (a signature counts every character).
/// `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct TemporaryUrl(String);

impl TemporaryUrl {
    /// Takes what the HTTP stack has checked.
    pub(in crate::providers) fn checked(url: String) -> Self {
        Self(url)
    }

    /// The URL, for nobody but who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TemporaryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TemporaryUrl(withheld)")
    }
}

/// A token of a live view. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes what the provider sent.
    pub(in crate::providers) fn new(token: String) -> Self {
        Self(token)
    }

    /// The token, for nobody but who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(withheld)")
    }
}
