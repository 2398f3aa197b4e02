//! The JSON schema of reports that the documentation holds.

use codeagent_operator::api::{CodeSessionSpec, CodeSessionStatus};
use codeagent_operator::domain::timing::Timing;
use codeagent_operator::domain::webhook::{Due, Payload, Subject, due, payload};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is reported of a session in this state.
fn report(status: Value) -> Value {
    let spec: CodeSessionSpec = serde_json::from_value(json!({
        "agentRef": {"name": "a"}, "prompt": "Do it", "webhook": {"url": "https://hooks.example.com"},
    }))
    .unwrap();
    let status: CodeSessionStatus = serde_json::from_value(status).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let Due::Now(report) = due("uid", &spec, &status, now, &Timing::default()) else {
        panic!("nothing is due");
    };
    let subject = Subject {
        namespace: "team-a",
        name: "fix-login",
        uid: "uid",
        agent: "a",
    };
    serde_json::from_str(&payload(subject, &status, &report, now)).unwrap()
}

/// The schema is made of the types: `UPDATE_DOCS=1` writes it.
#[test]
fn the_schema_is_the_one_in_the_documentation_and_reports_keep_to_it() {
    let schema = schemars::schema_for!(Payload);
    let printed = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhook.schema.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &printed).unwrap();
    }
    let documented = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(documented, printed, "write it with UPDATE_DOCS=1");
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let full = json!({
        "phase": "Error",
        "provider": {"kind": "cursor", "sessionId": "bc-1", "sessionURL": "https://cursor.com/agents/bc-1"},
        "pullRequest": {"url": "https://github.com/acme/app/pull/1", "branch": "fix/login"},
        "links": {"recording": "https://example.com/r"},
        "messages": [{"name": "prompt", "phase": "Error"}],
        "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:10:00Z",
    });
    for status in [full, json!({"phase": "Creating"})] {
        let report = report(status);
        let errors = validator.iter_errors(&report);
        let wrong: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert_eq!(wrong, Vec::<String>::new());
    }
    let other = json!({"type": "codesession.changed", "timestamp": "t", "data": {}});
    assert!(!validator.is_valid(&other));
}
