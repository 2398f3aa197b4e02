//! The kinds as `kubectl` shows them: explanations, names, columns.

use codeagent_harness::{KubectlOutput, Namespace};
use codeagent_operator::api::crds;
use serde_json::{Value, json};

use crate::cluster::{Kind, cluster, create, namespace, set_status, yaml};

async fn kubectl(namespace: &Namespace, arguments: &[&str]) -> KubectlOutput {
    let arguments = [&["-n", namespace.name()], arguments].concat();
    let output = cluster().await.admin().kubectl(&arguments).await.unwrap();
    println!(
        "$ kubectl {}\n{}{}",
        arguments.join(" "),
        output.stdout,
        output.stderr
    );
    output
}

#[track_caller]
fn stdout(output: KubectlOutput) -> String {
    assert!(output.success(), "{}", output.stderr);
    output.stdout
}

/// Words without the line breaks that kubectl puts into them.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn explain_shows_every_field_with_its_description() {
    let namespace = namespace("explain").await;
    for crd in crds::all() {
        let name = crd.spec.names.short_names.clone().unwrap()[0].clone();
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let path = format!("{name}.{part}");
            let shown = stdout(kubectl(&namespace, &["explain", &path]).await);
            let flattened = flat(&shown);
            let fields = schema["properties"][part]["properties"]
                .as_object()
                .unwrap();
            assert!(fields.len() >= 8);
            for (field, schema) in fields {
                assert!(
                    shown.contains(&format!("  {field}\t")),
                    "{path}.{field} is not shown"
                );
                let description = schema["description"].as_str().unwrap();
                assert!(
                    flattened.contains(&flat(description)),
                    "{path}.{field}: {description}"
                );
            }
        }
    }
    for (path, words) in [
        ("csess", "One execution of a CodeAgent against a repository"),
        ("cagent", "A reusable template"),
        (
            "csess.spec.prompt",
            "at most 64 KiB of UTF-8. Never changes.",
        ),
        (
            "csess.spec.messages.promptFrom.configMapKeyRef.key",
            "Key within the object.",
        ),
        ("csess.spec.desiredState", "Absent means Running."),
        (
            "cagent.spec.provider.cursor.endpoint",
            "https://api.cursor.com",
        ),
        (
            "cagent.spec.sessionDefaults.activeDeadlineSeconds",
            "in seconds",
        ),
        ("cagent.spec.credentials.secretRef.key", "Default: api-key."),
        (
            "csess.status.launch.target.account",
            "Digest of the account.",
        ),
    ] {
        let shown = flat(&stdout(kubectl(&namespace, &["explain", path]).await));
        assert!(shown.contains(words), "{path}: {shown}");
    }
}

#[tokio::test]
async fn the_columns_tell_what_one_wants_to_know() {
    let namespace = namespace("columns").await;
    let agent = yaml(
        "{provider: {cursor: {}}, credentials: {secretRef: {name: key}}, model: {id: composer-2}}",
    );
    create(&namespace, Kind::Agent, "bug-fixer", &agent)
        .await
        .unwrap();
    let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "Finished", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    set_status(&namespace, Kind::Agent, "bug-fixer", &json!({
        "provider": "cursor", "conditions": [condition("Ready", "True", "")], "sessions": {"active": 2},
    }))
    .await;
    let session = json!({"agentRef": {"name": "bug-fixer"}, "prompt": "Fix the bug"});
    create(&namespace, Kind::Session, "fix-login", &session)
        .await
        .unwrap();
    create(&namespace, Kind::Session, "new", &session)
        .await
        .unwrap();
    set_status(
        &namespace,
        Kind::Session,
        "fix-login",
        &json!({
            "phase": "Finished",
            "conditions": [condition("Succeeded", "True", "finished, all green")],
            "pullRequest": {"url": "https://github.com/acme/app/pull/42"},
            "provider": {"kind": "cursor", "sessionId": "bc-1"},
            "startedAt": "2026-01-01T00:00:00Z",
        }),
    )
    .await;
    let words = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines();
        lines
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned)
                    .collect()
            })
            .collect()
    };
    let shown = words(&stdout(kubectl(&namespace, &["get", "csess"]).await));
    assert_eq!(shown[0], ["NAME", "AGENT", "PHASE", "PR", "AGE"]);
    assert_eq!(
        shown[1][..4],
        [
            "fix-login",
            "bug-fixer",
            "Finished",
            "https://github.com/acme/app/pull/42"
        ]
    );
    assert_eq!(shown[2][..3], ["new", "bug-fixer", "Pending"]);
    let wide = words(&stdout(
        kubectl(&namespace, &["get", "csess", "-o", "wide"]).await,
    ));
    assert_eq!(
        wide[0],
        [
            "NAME", "AGENT", "PHASE", "PR", "AGE", "PROVIDER", "SESSION", "MODEL", "STARTED",
            "MESSAGE"
        ]
    );
    assert!(
        wide[1].ends_with(&["finished, all green".to_owned()]),
        "{wide:?}"
    );
    let agents = words(&stdout(kubectl(&namespace, &["get", "cagent"]).await));
    assert_eq!(
        agents[0],
        ["NAME", "PROVIDER", "READY", "ACTIVE", "MODEL", "AGE"]
    );
    assert_eq!(
        agents[1][..5],
        ["bug-fixer", "cursor", "True", "2", "composer-2"]
    );
}

/// Every name of a kind means this kind alone: with a category of the same name, `kubectl delete codeagents --all` would delete
/// the sessions, too, and `kubectl get codeagents NAME` would be refused.
#[tokio::test]
async fn each_name_means_its_kind_and_the_category_means_both() {
    let namespace = namespace("names").await;
    let agent = yaml("{provider: {cursor: {}}, credentials: {secretRef: {name: key}}}");
    create(&namespace, Kind::Agent, "bug-fixer", &agent)
        .await
        .unwrap();
    let session = json!({"agentRef": {"name": "bug-fixer"}, "prompt": "Fix the bug"});
    create(&namespace, Kind::Session, "fix-login", &session)
        .await
        .unwrap();
    const AGENT: &str = "codeagent.codeagents.dev/bug-fixer";
    const SESSION: &str = "codesession.codeagents.dev/fix-login";
    for name in [
        "codeagents",
        "codeagent",
        "cagent",
        "codeagents.codeagents.dev",
        "CodeAgent",
    ] {
        let listed = stdout(kubectl(&namespace, &["get", name, "-o", "name"]).await);
        assert_eq!(listed.trim(), AGENT, "{name}");
        let one = stdout(kubectl(&namespace, &["get", name, "bug-fixer", "-o", "name"]).await);
        assert_eq!(one.trim(), AGENT, "{name}");
    }
    for name in [
        "codesessions",
        "codesession",
        "csess",
        "codesessions.codeagents.dev",
    ] {
        let listed = stdout(kubectl(&namespace, &["get", name, "-o", "name"]).await);
        assert_eq!(listed.trim(), SESSION, "{name}");
    }
    let categories: Vec<Value> = crds::all()
        .iter()
        .map(|crd| json!(crd.spec.names.categories))
        .collect();
    let category = categories[0][0].as_str().unwrap();
    assert_eq!(categories[0], categories[1]);
    let both = stdout(kubectl(&namespace, &["get", category, "-o", "name"]).await);
    assert_eq!(
        both.lines().collect::<Vec<_>>(),
        [AGENT, SESSION],
        "{category}"
    );
}
