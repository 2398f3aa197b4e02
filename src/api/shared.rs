//! Types that both resources use.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Group of the resources.
pub const GROUP: &str = "codeagents.dev";
/// Version of the resources.
pub const VERSION: &str = "v1alpha1";

/// Finalizer of a CodeSession: the provider session behind it is dealt with before the object goes.
pub const FINALIZER: &str = "codeagents.dev/provider-session";
/// Finalizer of a CodeAgent that has a template at its provider: the template goes before the object does.
pub const TEMPLATE_FINALIZER: &str = "codeagents.dev/provider-template";
/// Annotation that the finalizer's write sets: `<namespace>/<name>/<uid>` of the object that was launched. A restored copy
/// carries another uid than its own.
pub const ORIGIN_ANNOTATION: &str = "codeagents.dev/origin";
/// Annotation by which a user hands over a provider session after an unknown launch outcome.
pub const ADOPT_ANNOTATION: &str = "codeagents.dev/adopt";
/// Label that a Secret must carry (value `true`) before the operator uses it as a credential.
pub const CREDENTIAL_LABEL: &str = "codeagents.dev/credential";
/// Label that a Secret must carry (value `true`) before the operator sends a value of it as a prompt. One that is labelled as a
/// credential is never a prompt.
pub const PROMPT_LABEL: &str = "codeagents.dev/prompt";
/// Label that a Secret must carry (value `true`) before the operator signs reports to a webhook with a value of it.
pub const WEBHOOK_LABEL: &str = "codeagents.dev/webhook";
/// Label that a Secret must carry (value `true`) before the operator sends its values as environment variables. One that is
/// labelled as a credential never becomes an environment.
pub const ENVIRONMENT_LABEL: &str = "codeagents.dev/environment";
/// Annotation on the Secret: hosts, separated by commas, that its values may be sent to besides the provider's own.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "codeagents.dev/allowed-hosts";

/// Names of Kubernetes objects.
pub(in crate::api) const NAME_PATTERN: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// Keys of Secrets and ConfigMaps.
pub(in crate::api) const KEY_PATTERN: &str = r"^[-._a-zA-Z0-9]+$";

/// What an endpoint may look like: no user, no query, no fragment.
pub(in crate::api) const ENDPOINT_PATTERN: &str =
    r"^https?://[A-Za-z0-9.\-_\[\]:]+(/[A-Za-z0-9.\-_~/]*)?$";

/// URLs of webhooks.
const WEBHOOK_PATTERN: &str =
    r"^(https://[^\s]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?(/[^\s]*)?)$";

/// Schema of a point in time.
pub(in crate::api) fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Schema of a model's parameters.
pub(in crate::api) fn params_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": {"type": "string", "maxLength": 256}
    })
}

/// Implements the schema of an enum of words: its members as serde writes them, and no description, so that the one of the
/// field stands (the derived schema would put the type's description in its place).
macro_rules! words_schema {
    ($name:ident: $($variant:ident),+ $(,)?) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": [$(Self::$variant),+]})
            }
        }
    };
}
pub(in crate::api) use words_schema;

/// Reads an enum of a status, written as its variants' names. The store may hold a word of another version of the operator: it
/// reads as the variant that is safe to take for anything, so that the object stays readable.
macro_rules! open_words {
    ($name:ident, or $other:ident: $($variant:ident),+ $(,)?) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Ok(match word.as_str() {
                    $(stringify!($variant) => Self::$variant,)+
                    _ => Self::$other,
                })
            }
        }
    };
}
pub(in crate::api) use open_words;

/// The key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Key within the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY_PATTERN))]
    pub key: String,
}

/// Where changes are reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    /// Public https URL. It is no secret: whoever may read this object reads it. Plain http, to this machine, is for development alone.
    #[schemars(length(min = 1, max = 2048), regex(pattern = WEBHOOK_PATTERN))]
    pub url: String,
    /// The key that signs the reports (Standard Webhooks): whsec_ and base64 of 24 to 64 bytes; two of them, one a line, while one
    /// replaces the other. The Secret must carry the label codeagents.dev/webhook: "true". Default: unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
}

/// Where a text comes from: exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.configMapKeyRef) != has(self.secretKeyRef)",
    "message": "set exactly one of configMapKeyRef and secretKeyRef"
}]))]
pub struct TextSource {
    /// A key of a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
    /// A key of a Secret in the same namespace. The Secret must carry the label codeagents.dev/prompt: "true" and not be labelled as a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
}

/// Where environment variables come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSource {
    /// A Secret in the same namespace: each of its keys is the name of a variable. The Secret must carry the label
    /// codeagents.dev/environment: "true" and not be labelled as a credential.
    pub secret_ref: SecretReference,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
}

/// What deleting an active session does at the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// It is cancelled, and the object goes once that is confirmed.
    #[default]
    Cancel,
    /// It is left running.
    Orphan,
}

words_schema!(DeletionPolicy: Cancel, Orphan);

/// What happens when a launch may or may not have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUnknownLaunch {
    /// Look for the session, adopt it if found, send again only when it is proven absent.
    #[default]
    Recover,
    /// Look for the session, never send a second time.
    Fail,
    /// Like Recover; where the provider offers no way to look, send once more after a waiting time. May pay twice.
    Retry,
}

words_schema!(OnUnknownLaunch: Recover, Fail, Retry);

/// Reads a word of a status; one that another version of the operator stored reads as the default, so that the object stays
/// readable.
pub(in crate::api) fn known_or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    let word = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(word).unwrap_or_default())
}

/// A standard condition (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// The generation of the spec that this was evaluated for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(schema_with = "time_schema")]
    pub last_transition_time: Timestamp,
    /// Why, as one word of a documented list.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// Why, for people, and what to do.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

words_schema!(ConditionStatus: True, False, Unknown);
open_words!(ConditionStatus, or Unknown: True, False, Unknown);

impl ConditionStatus {
    /// As written in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The condition of this type, if it is there.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}
