//! The CustomResourceDefinitions, as installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{CodeAgent, CodeSession};

/// Every CRD, in the order of installation.
///
/// What the derive macros cannot say is added here: rules that need spec and status together, the default status
/// (so that a new object shows `Pending` without a write), and no `nullable`, so that a `null` in a manifest counts as absent.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        finish(CodeAgent::crd(), &agent_status_default(), None),
        finish(
            CodeSession::crd(),
            &session_status_default(),
            Some(super::session::rules::of_object()),
        ),
    ]
}

/// The CRDs as one YAML stream, as `codeagent-operator crds` prints and `crds/` holds them.
///
/// # Errors
/// If a definition cannot be written as YAML, which a test rules out.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}

fn agent_status_default() -> Value {
    json!({"observedGeneration": -1, "conditions": [pending("Reconciling"), pending("Ready")]})
}

fn session_status_default() -> Value {
    json!({"observedGeneration": -1, "phase": "Pending", "conditions": [pending("Reconciling")]})
}

fn pending(kind: &str) -> Value {
    json!({
        "type": kind,
        "status": if kind == "Reconciling" { "True" } else { "Unknown" },
        "reason": "Pending",
        "message": "waits for the operator",
        "lastTransitionTime": "1970-01-01T00:00:00Z"
    })
}

fn finish(
    crd: CustomResourceDefinition,
    status: &Value,
    rules: Option<Value>,
) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(&crd).unwrap_or_default();
    if let Some(root) = value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        tidy(root);
        if let (Some(rules), Some(root)) = (rules, root.as_object_mut()) {
            root.insert("x-kubernetes-validations".into(), rules);
        }
        if let Some(schema) = root
            .pointer_mut("/properties/status")
            .and_then(Value::as_object_mut)
        {
            schema.insert("default".into(), status.clone());
        }
    }
    serde_json::from_value(value).unwrap_or(crd)
}

/// Drops `nullable` with its enum member and defaults of `null`, and puts descriptions on one line.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("nullable");
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            if let Some(Value::Array(members)) = map.get_mut("enum") {
                members.retain(|member| !member.is_null());
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
