//! The rules that the API server enforces on a CodeSession (CEL).
//!
//! A rule within `spec` cannot see `status`: what needs both stands at the root.

use serde_json::{Value, json};

/// Advice of every rule that keeps a launched session what it was.
const NEW_NAME: &str =
    "create a CodeSession with a new name; do not use --force: it cancels this one and pays again";

/// The rules over the whole spec.
pub(super) fn of_spec() -> Value {
    let mut rules = vec![
        json!({
            "rule": "[has(self.prompt), has(self.promptFrom), has(self.issue)].exists_one(x, x)",
            "message": "set exactly one of prompt, promptFrom and issue"
        }),
        json!({
            "rule": "!has(self.prompt) || size(bytes(self.prompt)) <= 65536",
            "fieldPath": ".prompt",
            "message": "the prompt is larger than 64 KiB of UTF-8: shorten it, or put it into a ConfigMap and use promptFrom"
        }),
        json!({
            "rule": "self.agentRef == oldSelf.agentRef",
            "fieldPath": ".agentRef",
            "message": format!("agentRef never changes: {NEW_NAME}")
        }),
        json!({
            "rule": "!has(oldSelf.messages) || has(self.messages)",
            "fieldPath": ".messages",
            "message": "messages are append-only: keep the ones that are there and add new ones at the end"
        }),
        json!({
            "rule": "!has(oldSelf.desiredState) || !has(self.desiredState) || oldSelf.desiredState == self.desiredState || oldSelf.desiredState in ['Running', 'Suspended'] || (oldSelf.desiredState == 'Cancelled' && self.desiredState == 'Archived')",
            "fieldPath": ".desiredState",
            "message": "a cancelled session can only be archived and an archived one stays so: remove desiredState from the manifest, or create a CodeSession with a new name to run again"
        }),
        json!({
            "rule": "!has(self.desiredState) || !(self.desiredState in ['Cancelled', 'Archived']) || !has(self.messages) || (has(oldSelf.messages) && size(self.messages) == size(oldSelf.messages))",
            "fieldPath": ".messages",
            "message": "no message can be added to a cancelled or archived session: create a CodeSession with a new name"
        }),
    ];
    for field in [
        "prompt",
        "promptFrom",
        "issue",
        "images",
        "envFrom",
        "repository",
        "model",
        "pullRequest",
        "parameters",
        "onBehalfOf",
    ] {
        rules.push(json!({
            "rule": format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"),
            "fieldPath": format!(".{field}"),
            "message": format!("{field} never changes: {NEW_NAME}")
        }));
    }
    Value::Array(rules)
}

/// The rules over the list of messages.
pub(super) fn of_messages() -> Value {
    json!([
        {
            "rule": "self.size() >= oldSelf.size() && oldSelf.all(i, o, self[i].name == o.name)",
            "message": "messages are append-only and keep their order: add new ones at the end"
        },
        {
            "rule": "!self.exists(m, m.name == 'prompt')",
            "message": "the name prompt is taken by the session's first message: choose another"
        },
        {
            "rule": "self.map(m, has(m.prompt) ? size(bytes(m.prompt)) : 0).sum() <= 65536",
            "message": "the messages are together larger than 64 KiB: use promptFrom, or a new CodeSession"
        }
    ])
}

/// The rules over spec and status together. They stand at the root: a rule within `spec` cannot see `status`.
pub(in crate::api) fn of_object() -> Value {
    json!([
        {
            "rule": "!has(self.spec.desiredState) || self.spec.desiredState != 'Archived' || (has(oldSelf.spec.desiredState) && oldSelf.spec.desiredState == 'Archived') || (has(self.status) && has(self.status.phase) && self.status.phase in ['Finished', 'Error', 'Cancelled', 'Expired'])",
            "fieldPath": ".spec.desiredState",
            "message": "only an ended session can be archived: cancel the session first"
        },
        {
            "rule": "(has(self.spec.credentials) == has(oldSelf.spec.credentials) && (!has(self.spec.credentials) || self.spec.credentials == oldSelf.spec.credentials)) || !has(self.status) || !has(self.status.launch) || self.status.launch.state == 'Rejected'",
            "fieldPath": ".spec.credentials",
            "message": "the session has been launched with its credentials: change the Secret's content instead, or create a CodeSession with a new name"
        }
    ])
}
