//! The files for Argo CD, kustomize and kube-state-metrics in `examples/`, used as those programs use them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use codeagent_operator::api::{AgentCondition, SessionCondition, crds};
use mlua::{Lua, LuaSerdeExt};
use serde_json::{Value, json};

use crate::cluster::{cluster, namespace, yaml};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(path)
}

fn read(path: &str) -> Value {
    yaml(&std::fs::read_to_string(example(path)).unwrap())
}

// --- Argo CD ---

/// What the check of this kind says of an object: its health and the message.
fn health(kind: &str, object: &Value) -> (String, String) {
    let config = read("argocd/argocd-cm.yaml");
    let key = format!("resource.customizations.health.codeagents.dev_{kind}");
    let script = config["data"][&key].as_str().unwrap();
    let lua = Lua::new();
    let object = lua.to_value(object).unwrap();
    lua.globals().set("obj", object).unwrap();
    let answer: mlua::Table = lua.load(script).eval().unwrap();
    (
        answer.get("status").unwrap(),
        answer.get("message").unwrap(),
    )
}

/// A condition that is True, and its reason.
type Held = (&'static str, &'static str);

/// An object with these conditions True, the others False or, before the end, Unknown.
fn object(kind: &str, holds: &[Held], generation: i64, observed: i64) -> Value {
    let all: Vec<&str> = match kind {
        "CodeAgent" => AgentCondition::ALL.iter().map(|it| it.as_str()).collect(),
        _ => SessionCondition::ALL.iter().map(|it| it.as_str()).collect(),
    };
    let conditions: Vec<Value> = all
        .into_iter()
        .map(|name| match holds.iter().find(|(held, _)| *held == name) {
            Some((_, reason)) => {
                json!({"type": name, "status": "True", "reason": reason, "message": format!("because of {reason}")})
            }
            None => json!({"type": name, "status": "False", "reason": "Pending", "message": format!("not {name}")}),
        })
        .collect();
    json!({
        "kind": kind,
        "metadata": {"name": "it", "generation": generation},
        "spec": {"suspend": false},
        "status": {"observedGeneration": observed, "conditions": conditions},
    })
}

#[test]
fn argo_cd_sees_how_a_session_stands() {
    let cases: [(&[Held], &str, &str); 9] = [
        (
            &[("Reconciling", "Running")],
            "Progressing",
            "because of Running",
        ),
        (
            &[("Reconciling", "WaitingForCapacity")],
            "Progressing",
            "because of WaitingForCapacity",
        ),
        (
            &[("Completed", "Finished"), ("Succeeded", "Finished")],
            "Healthy",
            "because of Finished",
        ),
        // Error, Cancelled and Expired: a hook must end.
        (&[("Completed", "Cancelled")], "Degraded", "not Succeeded"),
        (
            &[("Completed", "ProviderError"), ("Stalled", "ProviderError")],
            "Degraded",
            "not Succeeded",
        ),
        (
            &[("Stalled", "SecretNotFound")],
            "Degraded",
            "because of SecretNotFound",
        ),
        (
            &[("Blocked", "WaitingForPerson"), ("Reconciling", "Running")],
            "Suspended",
            "because of WaitingForPerson",
        ),
        (
            &[("Reconciling", "AgentSuspended")],
            "Suspended",
            "because of AgentSuspended",
        ),
        (&[], "Progressing", "not Reconciling"),
    ];
    for (holds, expected, message) in cases {
        let found = health("CodeSession", &object("CodeSession", holds, 2, 2));
        assert_eq!(
            found,
            (expected.to_owned(), message.to_owned()),
            "{holds:?}"
        );
        // What was evaluated for another spec says nothing of this one.
        let (found, _) = health("CodeSession", &object("CodeSession", holds, 3, 2));
        assert_eq!(found, "Progressing", "{holds:?}");
    }
    let mut suspended = object("CodeSession", &[], 2, 2);
    for condition in suspended["status"]["conditions"].as_array_mut().unwrap() {
        condition["reason"] = json!("Suspended");
    }
    assert_eq!(health("CodeSession", &suspended).0, "Suspended");
    let mut new = object("CodeSession", &[], 1, 1);
    new.as_object_mut().unwrap().remove("status");
    assert_eq!(health("CodeSession", &new).0, "Progressing");
}

#[test]
fn argo_cd_sees_how_an_agent_stands() {
    let cases: [(&[Held], &str); 4] = [
        (&[("Ready", "Ready")], "Healthy"),
        (&[("Stalled", "CredentialsInvalid")], "Degraded"),
        (&[("Reconciling", "VerifyingCredentials")], "Progressing"),
        (&[], "Progressing"),
    ];
    for (holds, expected) in cases {
        let agent = object("CodeAgent", holds, 2, 2);
        assert_eq!(health("CodeAgent", &agent).0, expected, "{holds:?}");
        let mut suspended = agent.clone();
        suspended["spec"]["suspend"] = json!(true);
        assert_eq!(health("CodeAgent", &suspended).0, "Suspended", "{holds:?}");
        let stale = object("CodeAgent", holds, 3, 2);
        assert_eq!(health("CodeAgent", &stale).0, "Progressing", "{holds:?}");
    }
}

/// A new object, with the status that the API server puts there.
#[tokio::test]
async fn argo_cd_lets_a_new_session_progress() {
    let namespace = namespace("argocd").await;
    let spec = yaml("{agentRef: {name: agent}, prompt: Fix the bug}");
    let created = crate::cluster::create(&namespace, crate::cluster::Kind::Session, "new", &spec)
        .await
        .unwrap();
    assert_eq!(health("CodeSession", &created).0, "Progressing");
}

// --- kustomize ---

#[tokio::test]
async fn kustomize_follows_every_reference_to_a_renamed_object() {
    let namespace = namespace("kustomize").await;
    let directory = example("kustomize");
    let admin = cluster().await.admin();
    let built = admin
        .kubectl(&["kustomize", directory.to_str().unwrap()])
        .await
        .unwrap();
    assert!(built.success(), "{}", built.stderr);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&built.stdout).unwrap();
    let name_of = |kind: &str| -> String {
        let found = objects.iter().find(|object| object["kind"] == kind);
        found.unwrap()["metadata"]["name"].as_str().unwrap().into()
    };
    let of = |kind: &str| {
        objects
            .iter()
            .find(|object| object["kind"] == kind)
            .unwrap()
    };
    let session = &of("CodeSession")["spec"];
    assert_eq!(session["agentRef"]["name"], name_of("CodeAgent"));
    assert_eq!(
        session["promptFrom"]["configMapKeyRef"]["name"],
        name_of("ConfigMap")
    );
    assert!(name_of("ConfigMap").starts_with("team-a-task-"));
    let agent = &of("CodeAgent")["spec"];
    assert_eq!(agent["credentials"]["secretRef"]["name"], name_of("Secret"));
    let apply = ["-n", namespace.name(), "apply", "--server-side", "-f", "-"];
    let applied = admin
        .kubectl_with_input(&apply, &built.stdout)
        .await
        .unwrap();
    assert!(applied.success(), "{}", applied.stderr);
}

/// Every path below `schema` at which another object is named, such as `spec/agentRef/name`.
fn references(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        if name.ends_with("Ref") && property["properties"]["name"].is_object() {
            found.insert(format!("{path}/name"));
        }
        references(&path, property, found);
    }
    if schema["items"].is_object() {
        references(path, &schema["items"], found);
    }
}

#[test]
fn kustomize_knows_every_reference_of_the_spec() {
    let mut expected = BTreeSet::new();
    for crd in crds::all() {
        let kind = crd.spec.names.kind.clone();
        let crd = serde_json::to_value(crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = BTreeSet::new();
        references("spec", &schema["properties"]["spec"], &mut found);
        expected.extend(found.into_iter().map(|path| format!("{kind}: {path}")));
    }
    let mut known = BTreeSet::new();
    for referred in read("kustomize/references.yaml")["nameReference"]
        .as_array()
        .unwrap()
    {
        for field in referred["fieldSpecs"].as_array().unwrap() {
            let word = |name: &str| field[name].as_str().unwrap().to_owned();
            known.insert(format!("{}: {}", word("kind"), word("path")));
        }
    }
    assert!(expected.len() > 8);
    assert_eq!(known, expected);
}

// --- kube-state-metrics ---

/// The schema at this path below `schema`; of a list, that of its items.
fn at<'a>(mut schema: &'a Value, path: &Value) -> &'a Value {
    for member in path.as_array().unwrap() {
        schema = &schema["properties"][member.as_str().unwrap()];
    }
    match schema["items"].is_object() {
        true => &schema["items"],
        false => schema,
    }
}

/// A path that does not exist is no error of kube-state-metrics: the series is missing.
#[test]
fn every_path_and_word_of_the_series_exists() {
    let values = read("kube-state-metrics/values.yaml");
    let resources = &values["customResourceState"]["config"]["spec"]["resources"];
    let words = |of: &Value| -> BTreeSet<String> {
        serde_json::from_value(of.clone()).unwrap_or_else(|error| panic!("{error}: {of}"))
    };
    let mut looked_at = 0;
    for crd in crds::all() {
        let resource = resources
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["groupVersionKind"]["kind"] == crd.spec.names.kind.as_str())
            .unwrap();
        let version = &crd.spec.versions[0];
        assert_eq!(resource["groupVersionKind"]["version"], version.name);
        assert_eq!(resource["groupVersionKind"]["group"], crd.spec.group);
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for metric in resource["metrics"].as_array().unwrap() {
            let name = &metric["name"];
            let each = &metric["each"];
            let of = |kind: &str| each.get(kind).filter(|it| !it.is_null());
            let (set, gauge, info) = (of("stateSet"), of("gauge"), of("info"));
            let found = match (set, gauge, info) {
                (Some(set), None, None) => {
                    let at_path = at(schema, &set["path"]);
                    let value = match set.get("valueFrom") {
                        Some(path) => at(at_path, path),
                        None => at_path,
                    };
                    assert_eq!(words(&set["list"]), words(&value["enum"]), "{name}");
                    for label in set["labelsFromPath"].as_object().into_iter().flatten() {
                        assert!(
                            at(at_path, label.1)["type"] == "string",
                            "{name}: {label:?}"
                        );
                    }
                    value
                }
                (None, Some(gauge), None) => at(schema, &gauge["path"]),
                (None, None, Some(info)) => {
                    let labels = info["labelsFromPath"].as_object().unwrap();
                    for (label, path) in labels {
                        assert!(at(schema, path)["type"] == "string", "{name}: {label}");
                    }
                    continue;
                }
                _ => panic!("{name}: {each}"),
            };
            let kind = found["type"].as_str().unwrap_or_default();
            assert!(["string", "integer"].contains(&kind), "{name}: {found}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 5);
}
