//! The custom resources: types, conditions, reasons and the rules the API server enforces.

pub mod provider;

pub use provider::{
    CursorApiVersion, CursorSpec, FirebenderMode, FirebenderSpec, FiretigerSpec, FlapjackSpec,
    ProviderKind, ProviderSpec,
};
