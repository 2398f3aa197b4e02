//! The models that the simulated account may use.

use serde_json::{Value, json};

use crate::members::insert;
use crate::options::ModelList;

struct Model {
    id: &'static str,
    name: &'static str,
    aliases: &'static [&'static str],
    parameters: &'static [Parameter],
    /// Every combination of parameter values that exists, the default first.
    variants: &'static [&'static [(&'static str, &'static str)]],
}

struct Parameter {
    id: &'static str,
    name: &'static str,
    values: &'static [&'static str],
}

const MODELS: &[Model] = &[
    Model {
        id: "composer-2",
        name: "Composer 2",
        aliases: &["composer"],
        parameters: &[Parameter {
            id: "fast",
            name: "Fast",
            values: &["false", "true"],
        }],
        variants: &[&[("fast", "true")], &[("fast", "false")]],
    },
    Model {
        id: "gpt-5.5",
        name: "GPT-5.5",
        aliases: &[],
        parameters: &[
            Parameter {
                id: "effort",
                name: "Effort",
                values: &["low", "high"],
            },
            Parameter {
                id: "fast",
                name: "Fast",
                values: &["false", "true"],
            },
        ],
        // Fast is not offered with high effort, so valid values alone do not make a valid choice.
        variants: &[
            &[("effort", "low"), ("fast", "false")],
            &[("effort", "low"), ("fast", "true")],
            &[("effort", "high"), ("fast", "false")],
        ],
    },
    Model {
        id: "claude-4.6-sonnet-thinking",
        name: "Claude 4.6 Sonnet Thinking",
        aliases: &["sonnet"],
        parameters: &[],
        variants: &[&[]],
    },
];

/// Why a model reference is refused.
pub(crate) fn check_model(id: &str, params: &[(&str, &str)]) -> Result<(), String> {
    let model = MODELS
        .iter()
        .find(|model| model.id == id || model.aliases.contains(&id))
        .ok_or_else(|| format!("Model '{id}' is not available"))?;
    let fits = model
        .variants
        .iter()
        .any(|variant| params.iter().all(|param| variant.contains(param)));
    if fits {
        Ok(())
    } else {
        Err(format!("Model '{id}' has no variant with these params"))
    }
}

/// The ids that v0 recommends.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.id)
}

/// The answer of `GET /v1/models`.
pub(crate) fn list(shape: ModelList) -> Value {
    let items: Vec<Value> = MODELS
        .iter()
        .map(|model| match shape {
            ModelList::Strings => json!(model.id),
            ModelList::Objects => object(model),
        })
        .collect();
    json!({ "items": items })
}

fn object(model: &Model) -> Value {
    let parameters: Vec<Value> = model
        .parameters
        .iter()
        .map(|parameter| {
            let values: Vec<Value> = parameter
                .values
                .iter()
                .map(|value| json!({"value": value}))
                .collect();
            json!({"id": parameter.id, "displayName": parameter.name, "values": values})
        })
        .collect();
    let variants: Vec<Value> = model
        .variants
        .iter()
        .enumerate()
        .map(|(index, variant)| {
            let params: Vec<Value> = variant
                .iter()
                .map(|(id, value)| json!({"id": id, "value": value}))
                .collect();
            let mut variant = json!({"params": params, "displayName": model.name});
            if index == 0 {
                insert(&mut variant, "isDefault", json!(true));
            }
            variant
        })
        .collect();
    json!({
        "id": model.id,
        "displayName": model.name,
        "aliases": model.aliases,
        "parameters": parameters,
        "variants": variants,
    })
}
