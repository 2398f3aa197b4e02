//! Cursor Cloud Agents. API v1: durable agents with runs, and session ids that we choose.

mod v1;

use std::collections::BTreeSet;
use std::sync::Arc;

use url::Url;

use super::contract::{Capability, Connection, ListDetail, Provider, ProviderType, Recovery};
use super::error::{ErrorClass, ProviderError};
use crate::api::{CursorApiVersion, ProviderKind, ProviderSpec};

/// What is known of Cursor without talking to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor;

fn version(spec: &ProviderSpec) -> CursorApiVersion {
    spec.cursor
        .as_ref()
        .and_then(|cursor| cursor.api_version)
        .unwrap_or_default()
}

impl ProviderType for Cursor {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Cursor
    }

    #[expect(
        clippy::expect_used,
        reason = "a constant that the registry's test parses"
    )]
    fn default_endpoint(&self, _: &ProviderSpec) -> Url {
        Url::parse("https://api.cursor.com").expect("a valid URL")
    }

    fn api_version(&self, spec: &ProviderSpec) -> &'static str {
        match version(spec) {
            CursorApiVersion::V1 => "v1",
            CursorApiVersion::V0 => "v0",
        }
    }

    fn further_secret_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn capabilities(&self, spec: &ProviderSpec) -> BTreeSet<Capability> {
        match version(spec) {
            CursorApiVersion::V1 => v1::CAPABILITIES.into(),
            CursorApiVersion::V0 => BTreeSet::new(),
        }
    }

    fn recovery(&self, spec: &ProviderSpec) -> Recovery {
        match version(spec) {
            CursorApiVersion::V1 => Recovery::ClientId,
            CursorApiVersion::V0 => Recovery::Marker,
        }
    }

    fn list_detail(&self, spec: &ProviderSpec) -> ListDetail {
        match version(spec) {
            CursorApiVersion::V1 => ListDetail::Hint,
            CursorApiVersion::V0 => ListDetail::Full,
        }
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        match version(&connection.spec) {
            CursorApiVersion::V1 => Ok(Arc::new(v1::CursorV1::connect(&connection)?)),
            CursorApiVersion::V0 => Err(ProviderError::unsent(
                ErrorClass::InvalidRequest,
                "version v0 of Cursor's API is not available in this release; use v1",
            )),
        }
    }
}
