//! The schemas of the CRDs, walked: every field is described and bounded, and of a type that no API server warns about.

use codeagent_operator::api::crds;
use serde_json::{Value, json};

/// One schema with the path to it, such as `codesession.spec.messages[].name`.
struct Node<'a> {
    path: String,
    schema: &'a Value,
}

/// Every schema below `schema`, itself included.
fn walk<'a>(path: String, schema: &'a Value, found: &mut Vec<Node<'a>>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            walk(format!("{path}.{name}"), property, found);
        }
    }
    if schema["items"].is_object() {
        walk(format!("{path}[]"), &schema["items"], found);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            format!("{path}{{}}"),
            &schema["additionalProperties"],
            found,
        );
    }
    found.push(Node { path, schema });
}

fn definitions() -> Vec<(String, Value)> {
    crds::all()
        .into_iter()
        .map(|crd| {
            let name = crd.spec.names.singular.clone().unwrap();
            let crd = serde_json::to_value(crd).unwrap();
            let schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            (name, schema)
        })
        .collect()
}

/// What is wrong with each schema in spec and status, in words.
fn complaints(name: &str, schema: &Value) -> Vec<String> {
    let mut nodes = Vec::new();
    for part in ["spec", "status"] {
        walk(
            format!("{name}.{part}"),
            &schema["properties"][part],
            &mut nodes,
        );
    }
    nodes.iter().flat_map(complaints_about).collect()
}

fn complaints_about(node: &Node<'_>) -> Vec<String> {
    let Node { path, schema } = node;
    let mut wrong = Vec::new();
    let mut say = |what: &str| wrong.push(format!("{path} {what}"));
    let own_field = !path.ends_with("[]") && !path.ends_with("{}");
    let description = schema["description"].as_str().unwrap_or_default();
    if own_field && (description.len() < 5 || !description.ends_with('.')) {
        say(&format!(
            "has no description that is a sentence: {description:?}"
        ));
    }
    if description.contains('\n') || description.contains("  ") {
        say("has a description with line breaks");
    }
    if schema.get("nullable").is_some() {
        say("is nullable: null would be stored instead of counting as absent");
    }
    for combinator in ["oneOf", "anyOf", "allOf", "not"] {
        if schema.get(combinator).is_some() {
            say(&format!("has {combinator}"));
        }
    }
    match schema["type"].as_str() {
        Some("string") => {
            let bounded = schema.get("maxLength").is_some()
                || schema.get("enum").is_some()
                || schema["format"] == "date-time";
            if !bounded {
                say("is a string of any length");
            }
        }
        Some("array") => {
            if schema.get("maxItems").is_none() {
                say("is a list of any length");
            }
        }
        Some("object") => {
            if schema["additionalProperties"].is_object() && schema.get("maxProperties").is_none() {
                say("is a map of any size");
            }
            // A part of a Pod is handed on as it is and checked by the API server, a body by the rules of mappings.
            let handed_on = schema["x-kubernetes-preserve-unknown-fields"] == true
                && ["provider.job.", "provider.http."]
                    .iter()
                    .any(|of| path.contains(of));
            if schema["properties"].is_null()
                && schema["additionalProperties"].is_null()
                && !handed_on
            {
                say("is an object without fields");
            }
        }
        Some("integer") => {
            if !matches!(schema["format"].as_str(), Some("int32" | "int64")) {
                say(&format!("has the format {}", schema["format"]));
            }
        }
        Some("boolean") => {}
        // An answer may be a list.
        None if path.ends_with("provider.http.examples[].answer") => {}
        other => say(&format!("has the type {other:?}")),
    }
    let of_user = path.contains(".spec");
    if of_user && own_field {
        complain_of_words(schema, description, &mut say, path);
    }
    wrong
}

/// What a user has to know of a field of the spec: default, unit, limits, choices.
fn complain_of_words(schema: &Value, description: &str, say: &mut dyn FnMut(&str), path: &str) {
    let lower = description.to_lowercase();
    let scalar = !matches!(schema["type"].as_str(), Some("object" | "array"));
    if let Some(default) = schema.get("default").filter(|_| scalar) {
        let shown = default
            .as_str()
            .map_or_else(|| default.to_string(), str::to_owned);
        if !lower.contains(&format!("default: {}", shown.to_lowercase())) {
            say(&format!("does not tell its default {shown}: {description}"));
        }
    }
    if path.contains("Seconds") && !lower.contains("seconds") {
        say("does not tell its unit");
    }
    for limit in ["minimum", "maximum"] {
        let number = schema[limit].as_f64().map(|number| format!("{number:.0}"));
        if let Some(number) = number.filter(|number| !description.contains(number)) {
            say(&format!("does not tell its {limit} {number}"));
        }
    }
    for word in schema["enum"].as_array().into_iter().flatten() {
        let word = word.as_str().unwrap_or_default();
        if !description.contains(word) {
            say(&format!("does not tell the choice {word}"));
        }
    }
}

#[test]
fn every_field_is_described_bounded_and_plain() {
    let mut all = Vec::new();
    for (name, schema) in definitions() {
        all.extend(complaints(&name, &schema));
        let mut nodes = Vec::new();
        walk(name.clone(), &schema, &mut nodes);
        println!("{name}: {} schemas", nodes.len());
        assert!(
            nodes.len() > 50,
            "{name}: only {} schemas were seen",
            nodes.len()
        );
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// A rule without a message shows its expression to the user.
#[test]
fn every_rule_has_a_message_that_says_what_to_do() {
    for (name, schema) in definitions() {
        let mut nodes = Vec::new();
        walk(name, &schema, &mut nodes);
        let mut rules = 0;
        for node in &nodes {
            for rule in node.schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
            {
                rules += 1;
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(message.len() > 20, "{}: {rule}", node.path);
                assert!(!message.ends_with('.'), "{}: {message}", node.path);
            }
        }
        assert!(rules > 0);
    }
}

/// Overrides merge leaf by leaf: a default written into the session would shadow the agent's value.
#[test]
fn what_overrides_the_agent_has_no_defaults() {
    let (_, schema) = definitions()
        .into_iter()
        .find(|(name, _)| name == "codesession")
        .unwrap();
    for field in [
        "repository",
        "model",
        "pullRequest",
        "webhook",
        "images",
        "envFrom",
        "messages",
    ] {
        let mut nodes = Vec::new();
        walk(
            field.to_owned(),
            &schema["properties"]["spec"]["properties"][field],
            &mut nodes,
        );
        assert!(!nodes.is_empty());
        for node in nodes {
            assert_eq!(node.schema.get("default"), None, "{}", node.path);
        }
    }
}

/// The walk finds what it is there for.
#[test]
fn each_kind_of_mistake_in_a_schema_is_found() {
    let wrap = |field: Value| {
        json!({"properties": {
            "spec": {"type": "object", "description": "A specification.", "properties": {"field": field}},
            "status": {"type": "object", "description": "A status.", "properties": {"ok": {"type": "boolean", "description": "Whether."}}},
        }})
    };
    let good =
        json!({"type": "string", "maxLength": 3, "description": "Some words.", "default": "a"});
    let cases = [
        (json!({"type": "string", "maxLength": 3}), "no description"),
        (
            json!({"type": "string", "description": "Some words."}),
            "string of any length",
        ),
        (
            json!({"type": "array", "description": "Some words.", "items": {"type": "boolean"}}),
            "list of any length",
        ),
        (
            json!({"type": "object", "description": "Some words.", "additionalProperties": {"type": "boolean"}}),
            "map of any size",
        ),
        (
            json!({"type": "integer", "format": "uint32", "description": "Some words."}),
            "uint32",
        ),
        (
            json!({"type": "integer", "description": "Some words."}),
            "format null",
        ),
        (
            json!({"type": "boolean", "description": "Some words.", "nullable": true}),
            "nullable",
        ),
        (
            json!({"type": "string", "enum": ["A"], "description": "Some words."}),
            "choice A",
        ),
        (
            json!({"type": "integer", "format": "int64", "maximum": 7, "description": "Some words."}),
            "maximum 7",
        ),
        (good, "default a"),
    ];
    for (field, expected) in cases {
        let found = complaints("thing", &wrap(field.clone()));
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{field}: {found:?}"
        );
    }
}
