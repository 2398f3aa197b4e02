//! Parameters of prompts: what a CodeAgent declares and a CodeSession gives.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names of parameters.
const PARAMETER_PATTERN: &str = r"^[a-zA-Z][-_a-zA-Z0-9]*$";

/// A parameter of the prompts of a CodeAgent's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.enum) && has(self.pattern))",
        "message": "enum and pattern exclude each other: remove one"
    },
    {
        "rule": "!(has(self.required) && self.required && has(self.default))",
        "message": "a required parameter is given by every session, so that its default is never used: remove default or required"
    },
    {
        "rule": "!has(self.enum) || !has(self.default) || self.default in self.enum",
        "fieldPath": ".default",
        "message": "the default is none of enum: correct the one or the other"
    }
]))]
pub struct ParameterSpec {
    /// Name, as in {{ .params.NAME }}: letters, digits, - and _, with a letter first; unique within the CodeAgent.
    #[schemars(length(min = 1, max = 63), regex(pattern = PARAMETER_PATTERN))]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Whether every session must give a value. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// The value where a session gives none; all of them together at most 32 KiB of UTF-8. Default: the empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub default: Option<String>,
    /// The values that a session may give, at most 50. Default: any.
    #[serde(default, rename = "enum", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 256)))]
    pub one_of: Option<Vec<String>>,
    /// A regular expression that the whole value must match, in the syntax of RE2 and Go (no back-references, no look-around). One
    /// that cannot be used makes the CodeAgent not Ready (InvalidParameters). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pattern: Option<String>,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterValue {
    /// Name of a parameter that the CodeAgent declares.
    #[schemars(length(min = 1, max = 63), regex(pattern = PARAMETER_PATTERN))]
    pub name: String,
    /// Its value, which is filled in as it is.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// The bound of all defaults together.
pub(super) fn defaults_rules() -> Value {
    json!([{
        "rule": "self.map(p, has(p.default) ? size(bytes(p.default)) : 0).sum() <= 32768",
        "message": "the defaults of the parameters are together larger than 32 KiB: put long texts into the preamble or the prompt"
    }])
}

/// The bound of all values together.
pub(in crate::api) fn values_rules() -> Value {
    json!([{
        "rule": "self.map(p, size(bytes(p.value))).sum() <= 32768",
        "message": "the values of the parameters are together larger than 32 KiB: put long texts into the prompt"
    }])
}

/// Schema of the values of all parameters by name.
pub(in crate::api) fn values_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": {"type": "string", "maxLength": 4096}
    })
}
