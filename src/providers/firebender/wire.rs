//! What goes over the wire with Firebender's API v0 (its documentation of October 2026, and the older one of 2025 that some
//! servers still follow: no `mode`, no `skipGradleSync`, no `SETUP`, another `target.url`).
//!
//! `vncToken` is left out of [`Agent`] on purpose: what is not read cannot leak. Only who asks for the live view reads it ([`Live`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::FirebenderMode;
use crate::providers::v0_agents::{AgentSource, AgentTarget, Prompt, Source, Webhook};
use crate::providers::wire::{WireId, lenient};

/// `POST /v0/agents`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateAgent<'a> {
    pub(super) prompt: Prompt<'a>,
    pub(super) source: Source<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<FirebenderMode>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) skip_gradle_sync: bool,
    pub(super) target: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook: Option<Webhook<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target<'a> {
    pub(super) auto_create_pr: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) branch_name: Option<&'a str>,
}

/// An agent, the same in every answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agent {
    pub(super) id: WireId,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) source: Option<AgentSource>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) target: Option<AgentTarget>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) summary: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) vnc_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) recording_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) trace_url: Option<String>,
}

/// Of an agent what it left: both are there after its end alone, the one for modes with an emulator, the other for enterprises.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Left {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) recording_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) trace_url: Option<String>,
}

/// Of an agent its live view: there while it is active, only where it is asked for alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Live {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) vnc_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) vnc_token: Option<String>,
}
