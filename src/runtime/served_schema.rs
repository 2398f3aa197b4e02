//! Comparing what the API server serves with what this program was built for.
//!
//! The API server drops fields that its definition does not have, without a word. So a program that is newer than the definitions
//! would believe that it has recorded what is nowhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use serde_json::Value;

/// What is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The API server does not serve the kind.
    NotServed {
        /// The definition's name.
        definition: String,
    },
    /// It would drop fields.
    Older {
        /// The definition's name.
        definition: String,
        /// Paths of the missing fields, such as `.status.launch.posts`; of what is missing as a whole only the top.
        missing: Vec<String>,
    },
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotServed { definition } => {
                write!(
                    f,
                    "the CustomResourceDefinition {definition} is not installed"
                )
            }
            Self::Older {
                definition,
                missing,
            } => {
                let shown: Vec<&str> = missing.iter().take(3).map(String::as_str).collect();
                write!(
                    f,
                    "the CustomResourceDefinition {definition} is older than this program: it lacks {}",
                    shown.join(", ")
                )?;
                match missing.len().saturating_sub(shown.len()) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

/// What is wrong with the definitions of the API server, compared with `definitions`, which are of one group and version. Fields that only
/// the API server knows are of a newer version and do no harm.
///
/// Asks for the OpenAPI document, which every authenticated user may read by default.
///
/// # Errors
/// If the API server does not answer, or refuses the document.
pub async fn mismatches(
    client: &Client,
    definitions: &[CustomResourceDefinition],
) -> Result<Vec<Mismatch>, kube::Error> {
    let mut found = Vec::new();
    let mut documents: HashMap<String, Value> = HashMap::new();
    for definition in definitions {
        let Some(version) = definition.spec.versions.first() else {
            continue;
        };
        let path = format!(
            "/openapi/v3/apis/{}/{}",
            definition.spec.group, version.name
        );
        let document = match documents.entry(path) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let document = document(client, unread.key()).await?;
                unread.insert(document)
            }
        };
        found.extend(mismatch(document, definition));
    }
    Ok(found)
}

/// The document of a group and version; null where the API server knows none.
async fn document(client: &Client, path: &str) -> Result<Value, kube::Error> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    match client.request(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Value::Null),
        answered => answered,
    }
}

/// First pause before the definitions are looked at again; it doubles up to eight times itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until the API server serves `definitions` with every field, and says what is wrong as long as it does not: `remedy` is what to do.
/// A process that ended instead would be started again later and later. One that may not read the document goes on without it.
pub async fn until_served(client: &Client, definitions: &[CustomResourceDefinition], remedy: &str) {
    let mut pause = PAUSE;
    loop {
        match mismatches(client, definitions).await {
            Ok(found) if found.is_empty() => return,
            Ok(found) => {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                let found = found.join("; ");
                tracing::error!(
                    "{found}. Nothing is begun until it is: {remedy}. Tried again in {pause:?}"
                );
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                tracing::warn!(
                    error = %status.message,
                    "the definitions cannot be compared with this program: their OpenAPI document is refused"
                );
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the definitions cannot be read yet; they are tried again in {pause:?}");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE * 8);
    }
}

fn mismatch(document: &Value, definition: &CustomResourceDefinition) -> Option<Mismatch> {
    let name = format!("{}.{}", definition.spec.names.plural, definition.spec.group);
    let schemas = document.pointer("/components/schemas");
    let mut schemas = schemas.and_then(Value::as_object).into_iter().flatten();
    let served = schemas.find(|(_, schema)| {
        schema
            .pointer("/x-kubernetes-group-version-kind/0/kind")
            .and_then(Value::as_str)
            == Some(definition.spec.names.kind.as_str())
    });
    let Some((_, served)) = served else {
        return Some(Mismatch::NotServed { definition: name });
    };
    let version = definition.spec.versions.first()?;
    let own = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    let own = serde_json::to_value(own).unwrap_or_default();
    let mut missing = Vec::new();
    missing_fields(&own, served, "", &mut missing);
    (!missing.is_empty()).then_some(Mismatch::Older {
        definition: name,
        missing,
    })
}

/// Adds the paths of the fields of `own` that `served` does not have.
fn missing_fields(own: &Value, served: &Value, path: &str, missing: &mut Vec<String>) {
    // The metadata of an object, which is not ours.
    if served.get("$ref").is_some() || served.get("allOf").is_some() {
        return;
    }
    if let Some(properties) = own.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            let path = format!("{path}.{name}");
            match served.get("properties").and_then(|it| it.get(name)) {
                Some(served) => missing_fields(property, served, &path, missing),
                None => missing.push(path),
            }
        }
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let (Some(own), Some(served)) = (own.get(inner), served.get(inner)) {
            missing_fields(own, served, &format!("{path}{suffix}"), missing);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_without_a_document_is_not_served() {
        let definition = json!({
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"kind": "Thing", "plural": "things"},
                "versions": [{"name": "v1", "served": true, "storage": true}],
            },
        });
        let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
        let definition_name = "things.example.com".to_owned();
        assert_eq!(
            mismatch(&Value::Null, &definition),
            Some(Mismatch::NotServed {
                definition: definition_name
            })
        );
    }

    #[test]
    fn only_what_the_program_knows_and_the_server_does_not_is_missing() {
        let object = |properties: Value| json!({"type": "object", "properties": properties});
        let own = object(json!({
            "metadata": {"type": "object"},
            "status": object(json!({
                "phase": {"type": "string"},
                "launch": object(json!({"posts": {}})),
                "messages": {"type": "array", "items": object(json!({"name": {}, "send": {}}))},
                "params": {"additionalProperties": object(json!({"value": {}}))},
            })),
        }));
        let served = object(json!({
            "metadata": {"$ref": "#/components/schemas/ObjectMeta"},
            "status": object(json!({
                "phase": {"type": "string"},
                "newer": {"type": "string"},
                "messages": {"type": "array", "items": object(json!({"name": {}}))},
                "params": {"additionalProperties": object(json!({}))},
            })),
        }));
        let mut missing = Vec::new();
        missing_fields(&own, &served, "", &mut missing);
        assert_eq!(
            missing,
            [
                ".status.launch",
                ".status.messages[].send",
                ".status.params{}.value"
            ]
        );
    }
}
