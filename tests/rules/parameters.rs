//! Parameters of prompts: what a CodeAgent may declare and a CodeSession give.

use serde_json::{Value, json};

use crate::cluster::Expected::{Accepted, Refused};
use crate::cluster::{Expected, Kind, Verdicts, create, namespace, replace, yaml};

fn agent(parameters: Value) -> Value {
    let mut spec = yaml("{provider: {cursor: {}}, credentials: {secretRef: {name: key}}}");
    spec["parameters"] = parameters;
    spec
}

fn session(parameters: Value) -> Value {
    let mut spec = yaml("{agentRef: {name: agent}, prompt: Fix the bug}");
    spec["parameters"] = parameters;
    spec
}

/// This many entries, each with a text of this many characters.
fn many(count: usize, field: &str, text: &str) -> Value {
    let entries = (0..count).map(|number| json!({"name": format!("p{number}"), field: text}));
    entries.collect()
}

#[tokio::test]
async fn what_can_be_declared_has_its_limits() {
    let namespace = namespace("parameters-declared").await;
    let long = "x".repeat(4096);
    let cases: Vec<(Value, Expected)> = vec![
        (
            yaml(
                "[{name: ticket, description: Number, required: true, pattern: 'FT-[0-9]+'}, {name: env, enum: [a, b], default: a}, {name: a_b-C9}]",
            ),
            Accepted,
        ),
        (yaml("[]"), Accepted),
        (many(20, "default", "x"), Accepted),
        (
            many(21, "default", "x"),
            Refused("must have at most 20 items"),
        ),
        (many(8, "default", &long), Accepted),
        (
            many(9, "default", &long),
            Refused("the defaults of the parameters are together larger than 32 KiB"),
        ),
        (yaml("[{name: a}, {name: a}]"), Refused("Duplicate value")),
        (yaml("[{}]"), Refused("name: Required value")),
        (yaml("[{name: 1a}]"), Refused("parameters[0].name")),
        (yaml("[{name: a.b}]"), Refused("parameters[0].name")),
        (yaml("[{name: '{{ a }}'}]"), Refused("parameters[0].name")),
        (
            yaml("[{name: a, enum: [b], pattern: b}]"),
            Refused("enum and pattern exclude each other"),
        ),
        (
            yaml("[{name: a, required: true, default: b}]"),
            Refused("remove default or required"),
        ),
        (yaml("[{name: a, required: false, default: b}]"), Accepted),
        (
            yaml("[{name: a, enum: [b], default: c}]"),
            Refused("the default is none of enum"),
        ),
        (yaml("[{name: a, enum: []}]"), Refused("at least 1 items")),
        (
            yaml("[{name: a, pattern: ''}]"),
            Refused("parameters[0].pattern"),
        ),
        // Only the operator knows whether it can be compiled.
        (yaml("[{name: a, pattern: '('}]"), Accepted),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (parameters, expected)) in cases.into_iter().enumerate() {
        let spec = agent(parameters.clone());
        let result = create(&namespace, Kind::Agent, &format!("case-{index}"), &spec).await;
        let mut case = parameters.to_string();
        case.truncate(200);
        verdicts.check(&case, expected, &result);
    }
}

#[tokio::test]
async fn what_can_be_given_has_its_limits_and_never_changes() {
    let namespace = namespace("parameters-given").await;
    let long = "ä".repeat(4096);
    let cases: Vec<(Value, Expected)> = vec![
        (
            yaml("[{name: ticket, value: FT-42}, {name: note, value: ''}]"),
            Accepted,
        ),
        (yaml("[]"), Accepted),
        (
            many(21, "value", "x"),
            Refused("must have at most 20 items"),
        ),
        (many(4, "value", &long), Accepted),
        (
            many(5, "value", &long),
            Refused("the values of the parameters are together larger than 32 KiB"),
        ),
        (
            yaml("[{name: a, value: b}, {name: a, value: c}]"),
            Refused("Duplicate value"),
        ),
        (yaml("[{name: a}]"), Refused("value: Required value")),
        (
            yaml("[{name: a, value: 1}]"),
            Refused("must be of type string"),
        ),
        (
            yaml("[{name: 'a b', value: c}]"),
            Refused("parameters[0].name"),
        ),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (parameters, expected)) in cases.into_iter().enumerate() {
        let spec = session(parameters.clone());
        let result = create(&namespace, Kind::Session, &format!("case-{index}"), &spec).await;
        let mut case: String = parameters.to_string();
        case = case.chars().take(200).collect();
        verdicts.check(&case, expected, &result);
    }
    let never = Refused("parameters never changes: create a CodeSession with a new name");
    let one = yaml("[{name: a, value: b}]");
    create(&namespace, Kind::Session, "fixed", &session(one.clone()))
        .await
        .unwrap();
    for (parameters, expected) in [
        (one, Accepted),
        (yaml("[{name: a, value: c}]"), never),
        (yaml("[{name: a, value: b}, {name: c, value: d}]"), never),
        (Value::Null, never),
    ] {
        let spec = session(parameters.clone());
        let result = replace(&namespace, Kind::Session, "fixed", &spec).await;
        verdicts.check(&format!("changed to {parameters}"), expected, &result);
    }
}
