//! What scripts, Argo CD and Flux rely on, checked over every version of every object that was ever stored.

use std::collections::HashMap;

use codeagent_operator::api::{AgentCondition, Reason, SessionCondition};
use serde_json::{Value, json};

/// Everything that is wrong with the stored versions of objects; those of one object stand in their order.
/// None of `secrets` may stand anywhere in them.
pub fn complaints(history: &[Value], secrets: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut latest: HashMap<&str, &Value> = HashMap::new();
    for object in history {
        let mut found = in_itself(object);
        if let Some(before) = latest.insert(uid(object), object) {
            found.extend(since(before, object));
        }
        let text = object.to_string();
        found.extend(
            secrets
                .iter()
                .filter(|secret| text.contains(**secret))
                .map(|secret| format!("holds the key {secret}")),
        );
        wrong.extend(found.into_iter().map(|what| {
            format!(
                "{} {what}\n    {}",
                object["metadata"]["name"], object["status"]
            )
        }));
    }
    wrong
}

/// The objects whose newest version has not evaluated its spec.
pub fn lagging(history: &[Value]) -> Vec<String> {
    let mut latest: HashMap<&str, &Value> = HashMap::new();
    for object in history {
        latest.insert(uid(object), object);
    }
    let behind = latest.values().filter(|object| {
        object["metadata"]["deletionTimestamp"].is_null()
            && object["status"]["observedGeneration"] != object["metadata"]["generation"]
    });
    behind
        .map(|object| {
            format!(
                "{} is at generation {}, its status at {}",
                object["metadata"]["name"],
                object["metadata"]["generation"],
                object["status"]["observedGeneration"]
            )
        })
        .collect()
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// What is wrong with one version.
fn in_itself(object: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let status = &object["status"];
    let evaluated = status["observedGeneration"].as_i64().unwrap_or(-1);
    if holds(status, "Reconciling", "True") && holds(status, "Stalled", "True") {
        wrong.push("is Reconciling and Stalled at once".to_owned());
    }
    // What follows is about a status that the operator has written.
    if evaluated < 0 {
        return wrong;
    }
    if evaluated > object["metadata"]["generation"].as_i64().unwrap_or(0) {
        wrong.push("has evaluated a generation that is still to come".to_owned());
    }
    let conditions = status["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let types: Vec<&str> = conditions
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    let expected: Vec<&str> = match object["kind"].as_str() {
        Some("CodeAgent") => AgentCondition::ALL
            .iter()
            .map(|kind| kind.as_str())
            .collect(),
        _ => SessionCondition::ALL
            .iter()
            .map(|kind| kind.as_str())
            .collect(),
    };
    if types != expected {
        wrong.push(format!("has the conditions {types:?}"));
    }
    for condition in conditions {
        let kind = &condition["type"];
        if condition["observedGeneration"] != status["observedGeneration"] {
            wrong.push(format!(
                "has {kind} evaluated at another generation than its status"
            ));
        }
        let reason = condition["reason"].as_str().unwrap_or_default();
        if !Reason::ALL.iter().any(|known| known.as_str() == reason) {
            wrong.push(format!("has {kind} for the undocumented reason {reason:?}"));
        }
        let message = condition["message"].as_str().unwrap_or_default();
        if message.len() > 1024 {
            wrong.push(format!(
                "has {kind} with a message of {} bytes",
                message.len()
            ));
        }
        if message.is_empty() && *kind == "Stalled" && condition["status"] == "True" {
            wrong.push("is Stalled without a word".to_owned());
        }
        if condition["lastTransitionTime"]
            .as_str()
            .is_none_or(|at| at.contains('.'))
        {
            wrong.push(format!("has {kind} with a fraction of a second"));
        }
    }
    if object["kind"] == "CodeSession" {
        let archived = object["spec"]["desiredState"] == "Archived";
        wrong.extend(end_of_session(status, archived));
    }
    wrong
}

/// Phase, `Succeeded` and `Completed` tell the same.
fn end_of_session(status: &Value, archived: bool) -> Option<String> {
    let (succeeded, completed) = match status["phase"].as_str() {
        Some("Finished") => ("True", "True"),
        Some("Error" | "Cancelled" | "Expired") => ("False", "True"),
        _ => ("Unknown", "False"),
    };
    let agree = holds(status, "Succeeded", succeeded) && holds(status, "Completed", completed);
    // A finished session is neither in progress nor failed.
    let current = status["phase"] != "Finished"
        || (holds(status, "Reconciling", "False") && holds(status, "Stalled", "False"));
    // One that failed is failed, unless its user has put it away: a deployment that waits must not take it for done.
    let failed = !matches!(status["phase"].as_str(), Some("Error" | "Expired"))
        || archived
        || holds(status, "Stalled", "True");
    (!agree || !current || !failed).then(|| format!("is {} with other conditions", status["phase"]))
}

/// What is wrong with the step from one version to the next.
fn since(before: &Value, now: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let generation = |object: &Value| object["status"]["observedGeneration"].as_i64();
    if generation(now) < generation(before) {
        wrong.push("has forgotten a generation".to_owned());
    }
    for condition in now["status"]["conditions"].as_array().into_iter().flatten() {
        let stored = condition_of(
            &before["status"],
            condition["type"].as_str().unwrap_or_default(),
        );
        // The default of a new object has no time of its own.
        let comparable = stored.filter(|_| generation(before) >= Some(0));
        if comparable.is_some_and(|stored| {
            stored["status"] == condition["status"]
                && stored["lastTransitionTime"] != condition["lastTransitionTime"]
        }) {
            wrong.push(format!("has moved the time of {} alone", condition["type"]));
        }
    }
    let visible = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
        object
    };
    let rewritten = before["metadata"]["resourceVersion"] != now["metadata"]["resourceVersion"];
    if rewritten && generation(now) >= Some(0) && visible(before) == visible(now) {
        wrong.push("was written without a change".to_owned());
    }
    wrong
}

fn condition_of<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn holds(status: &Value, kind: &str, value: &str) -> bool {
    condition_of(status, kind).is_some_and(|condition| condition["status"] == value)
}

/// Changes one member of a condition.
fn set(object: &mut Value, kind: &str, member: &str, value: Value) {
    let conditions = object["status"]["conditions"].as_array_mut().unwrap();
    let mut of_kind = conditions
        .iter_mut()
        .filter(|condition| condition["type"] == kind);
    of_kind.next().unwrap()[member] = value;
}

/// A session as it should be.
fn sound(phase: &str, statuses: [&str; 9]) -> Value {
    let conditions: Vec<Value> = SessionCondition::ALL
        .iter()
        .zip(statuses)
        .map(|(kind, status)| {
            json!({
                "type": kind.as_str(), "status": status, "reason": "Running", "message": "the agent works",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        })
        .collect();
    json!({
        "kind": "CodeSession",
        "metadata": {"name": "s", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "status": {"phase": phase, "observedGeneration": 1, "conditions": conditions},
    })
}

const RUNNING: [&str; 9] = [
    "True", "Unknown", "False", "False", "Unknown", "False", "Unknown", "True", "False",
];

#[test]
fn a_sound_history_gives_no_cause_for_complaint() {
    let finished = [
        "True", "True", "True", "False", "True", "False", "Unknown", "False", "False",
    ];
    let mut next = sound("Finished", finished);
    next["metadata"]["resourceVersion"] = json!("2");
    let history = [sound("Running", RUNNING), next];
    assert_eq!(complaints(&history, &["secret"]), [""; 0]);
    assert_eq!(lagging(&history), [""; 0]);
    let failed = [
        "True", "False", "True", "False", "False", "False", "Unknown", "False", "True",
    ];
    assert_eq!(complaints(&[sound("Error", failed)], &[]), [""; 0]);
}

#[test]
fn each_broken_promise_is_found() {
    type Breaks = fn(&mut Value);
    let cases: [(&str, Breaks); 11] = [
        ("Reconciling and Stalled at once", |o| {
            set(o, "Stalled", "status", json!("True"))
        }),
        ("has the conditions", |o| {
            o["status"]["conditions"].as_array_mut().unwrap().swap(0, 1);
        }),
        ("another generation", |o| {
            o["status"]["conditions"][2]["observedGeneration"] = json!(0)
        }),
        ("still to come", |o| o["metadata"]["generation"] = json!(0)),
        ("undocumented reason", |o| {
            o["status"]["conditions"][0]["reason"] = json!("Whatever")
        }),
        ("2000 bytes", |o| {
            o["status"]["conditions"][0]["message"] = json!("a".repeat(2000))
        }),
        ("fraction of a second", |o| {
            o["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:00.5Z");
        }),
        ("with other conditions", |o| {
            o["status"]["phase"] = json!("Error")
        }),
        ("is \"Error\" with other conditions", |o| {
            let settled = [
                "True", "False", "True", "False", "False", "False", "Unknown", "False", "False",
            ];
            *o = sound("Error", settled);
        }),
        ("without a word", |o| {
            set(o, "Reconciling", "status", json!("False"));
            set(o, "Stalled", "status", json!("True"));
            set(o, "Stalled", "message", json!(""));
        }),
        ("holds the key", |o| {
            o["status"]["rest"] = json!("a secret in it")
        }),
    ];
    for (expected, break_it) in cases {
        let mut object = sound("Running", RUNNING);
        break_it(&mut object);
        let found = complaints(&[object], &["secret"]).join("\n");
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let steps: [(&str, Breaks); 3] = [
        ("without a change", |_| {}),
        ("moved the time", |o| {
            o["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:01Z");
        }),
        ("forgotten a generation", |o| {
            o["status"]["observedGeneration"] = json!(0);
        }),
    ];
    for (expected, break_it) in steps {
        let mut next = sound("Running", RUNNING);
        next["metadata"]["resourceVersion"] = json!("2");
        break_it(&mut next);
        let found = complaints(&[sound("Running", RUNNING), next], &[]).join("\n");
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let mut behind = sound("Running", RUNNING);
    behind["metadata"]["generation"] = json!(2);
    assert_eq!(lagging(&[behind]).len(), 1);
}
