//! Cursor Cloud Agents. API v1: durable agents with runs, and session ids that we choose. API v0: flat agents, older, with
//! branch names that can be chosen.

mod account;
mod artifacts;
mod v0;
mod v1;

use std::collections::BTreeSet;
use std::sync::Arc;

use url::Url;

use super::contract::{
    CancelVisibility, Capability, Connection, DeliveryFormat, Extended, MessageRecovery, Provider,
    ProviderType, Recovery,
};
use super::error::ProviderError;
use crate::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};

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

    fn settings(&self, spec: &ProviderSpec) -> &'static [Capability] {
        match version(spec) {
            CursorApiVersion::V1 => v1::CAPABILITIES,
            CursorApiVersion::V0 => v0::CAPABILITIES,
        }
    }

    fn extensions(&self, spec: &ProviderSpec) -> Vec<Capability> {
        match version(spec) {
            CursorApiVersion::V1 => v1::CursorV1::EXTENSIONS.capabilities(),
            CursorApiVersion::V0 => v0::CursorV0::EXTENSIONS.capabilities(),
        }
    }

    fn not_yet_used(&self, spec: &ProviderSpec) -> BTreeSet<Capability> {
        match version(spec) {
            CursorApiVersion::V1 => v1::OFFERED_LATER.into(),
            CursorApiVersion::V0 => BTreeSet::new(),
        }
    }

    fn variant(&self, spec: &ProviderSpec) -> Option<&'static str> {
        Some(match version(spec) {
            CursorApiVersion::V1 => "apiVersion: v1",
            CursorApiVersion::V0 => "apiVersion: v0",
        })
    }

    fn variants(&self) -> Vec<ProviderSpec> {
        let settings = |version| ProviderSpec {
            cursor: Some(CursorSpec {
                api_version: Some(version),
                endpoint: None,
            }),
            ..ProviderSpec::default()
        };
        vec![
            settings(CursorApiVersion::V1),
            settings(CursorApiVersion::V0),
        ]
    }

    fn recovery(&self, spec: &ProviderSpec) -> Recovery {
        match version(spec) {
            CursorApiVersion::V1 => Recovery::ClientId,
            CursorApiVersion::V0 => Recovery::Marker,
        }
    }

    /// API v1 refuses an id of ours beside `envVars` (its documentation of October 2026).
    fn environment_recovery(&self, _: &ProviderSpec) -> Recovery {
        Recovery::Marker
    }

    fn message_recovery(&self, spec: &ProviderSpec) -> Option<MessageRecovery> {
        match version(spec) {
            CursorApiVersion::V1 => Some(MessageRecovery::Baseline),
            CursorApiVersion::V0 => Some(MessageRecovery::Marker),
        }
    }

    fn cancel_visibility(&self, spec: &ProviderSpec) -> CancelVisibility {
        match version(spec) {
            CursorApiVersion::V1 => CancelVisibility::InStatus,
            CursorApiVersion::V0 => CancelVisibility::Unobservable,
        }
    }

    /// Of API v0; v1 has none (its documentation of October 2026).
    fn deliveries(&self) -> Option<DeliveryFormat> {
        Some(DeliveryFormat {
            signature: Some("x-webhook-signature"),
            must_be_signed: true,
            id: Some("x-webhook-id"),
        })
    }

    fn connect(&self, connection: Connection) -> Result<Arc<dyn Provider>, ProviderError> {
        match version(&connection.spec) {
            CursorApiVersion::V1 => Ok(Arc::new(v1::CursorV1::connect(&connection)?)),
            CursorApiVersion::V0 => Ok(Arc::new(v0::CursorV0::connect(&connection)?)),
        }
    }
}
