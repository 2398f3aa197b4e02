//! Why a pass failed, and how errors are shown.

use std::time::Duration;

use crate::runtime::write::WriteError;

/// Why a pass failed. It is repeated after a while.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// Something of the cluster could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        source: kube::Error,
    },
    /// A write was not stored.
    #[error("cannot store {what}")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        source: WriteError,
    },
    /// The pass took longer than it may.
    #[error("the pass took longer than {0:?}")]
    Timeout(Duration),
}

/// An error with its causes, on one line.
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
