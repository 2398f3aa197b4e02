//! What `helm test` runs: the operator's own check of an installation.

use std::process::Stdio;

use clap::Parser;
use codeagent_boundary::operator::Operator as Running;
use codeagent_harness::{Access, ControlPlane, Options, shared};
use codeagent_operator::check::{self, Report};
use codeagent_operator::cli::{CheckOptions, Cli, Command};
use serde_json::{Value, json};

use crate::helm::{self, objects};
use crate::operator::{Arguments, Operator};
use crate::release::Release;

/// The Pod that `helm test` makes with these values.
fn test_pod(release: &str, values: &str) -> Value {
    let manifests = helm::template(release, release, values).unwrap();
    let mut hooks = objects(&manifests);
    hooks.retain(|object| object["metadata"]["annotations"].get(helm::HOOK).is_some());
    assert_eq!(hooks.len(), 1);
    hooks.remove(0)
}

/// The options of the check as that Pod gives them, in the namespace of the same name.
fn options(release: &str, values: &str, wait: &str) -> CheckOptions {
    let pod = test_pod(release, values);
    let container = &pod["spec"]["containers"][0];
    let mut words = vec!["codeagent-operator".to_owned()];
    let arguments = container["args"].as_array().unwrap().iter();
    words.extend(arguments.map(|it| it.as_str().unwrap().to_owned()));
    for variable in container["env"].as_array().unwrap() {
        match variable["name"].as_str().unwrap() {
            "POD_NAMESPACE" => words.push(format!("--operator-namespace={release}")),
            "CODEAGENT_NAMESPACES" => {
                words.push(format!(
                    "--namespace={}",
                    variable["value"].as_str().unwrap()
                ));
            }
            other => panic!("the check is told {other}"),
        }
    }
    words.push(format!("--wait={wait}"));
    match Cli::try_parse_from(words).unwrap().command {
        Command::Check(options) => options,
        Command::Run(_) | Command::Crds => panic!("another command"),
    }
}

async fn check(access: &Access, options: &CheckOptions) -> Report {
    check::run_with(access.config(), options).await
}

#[test]
fn the_pod_is_the_operators_image_and_account_and_nothing_selects_it() {
    let pod = test_pod(
        "ops",
        "{image: {tag: v1}, imagePullSecrets: [{name: registry}]}",
    );
    assert_eq!(pod["metadata"]["annotations"][helm::HOOK], "test");
    let deployment = helm::render("{image: {tag: v1}}");
    let deployment = helm::the(&deployment, "Deployment");
    let template = &deployment["spec"]["template"]["spec"];
    let (own, operators) = (&pod["spec"]["containers"][0], &template["containers"][0]);
    assert_eq!(own["image"], operators["image"]);
    assert_eq!(own["securityContext"], operators["securityContext"]);
    assert_eq!(pod["spec"]["securityContext"], template["securityContext"]);
    assert_eq!(
        pod["spec"]["imagePullSecrets"],
        json!([{"name": "registry"}])
    );
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
    assert_eq!(account, "ops-codeagent-operator");
    let selected = &deployment["spec"]["selector"]["matchLabels"];
    let labels = &pod["metadata"]["labels"];
    let all = selected.as_object().unwrap().iter();
    assert!(
        all.clone().any(|(label, value)| labels[label] != *value),
        "{labels}"
    );
}

#[tokio::test]
async fn an_installation_that_works_passes_and_what_is_missing_is_named() {
    let control_plane = shared().await;
    let team = control_plane.namespace("team").await.unwrap();
    let values = format!("watchNamespaces: [{}]", team.name());
    let release = Release::apply(&values).await;
    let access = release.operator().await;

    // Nobody leads yet.
    let found = check(&access, &options(release.name(), &values, "1s")).await;
    let report = found.to_string();
    assert!(!found.passed());
    assert!(
        report.contains("FAILED  leader: nobody has renewed the Lease"),
        "{report}"
    );

    let arguments = Arguments::calm()
        .with("--namespace", team.name())
        .with("--operator-namespace", release.name())
        .with("--leader-election", "true");
    let operator = Operator::start(access.config(), &arguments).await;
    let found = check(&access, &options(release.name(), &values, "60s")).await;
    assert!(found.passed(), "{found}");

    // Without one of its rules, and for a namespace that it does not serve.
    let role = release.full_name();
    let fewer = r#"[{"op": "test", "path": "/rules/3/resources", "value": ["codesessions/status"]}, {"op": "remove", "path": "/rules/3"}]"#;
    let patch = [
        "patch",
        "role",
        &role,
        "-n",
        team.name(),
        "--type=json",
        "-p",
        fewer,
    ];
    release.kubectl(&patch, "").await;
    let missing = format!(
        "patch codesessions.codeagents.dev/status in namespace {}",
        team.name()
    );
    // Removals take effect a moment after they are applied.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let report = check(&access, &options(release.name(), &values, "60s")).await;
        let text = report.to_string();
        if text.contains(&missing) {
            assert!(!report.passed() && text.contains("FAILED  permissions: not allowed: "));
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
    }
    operator.stop().await;
}

/// Definitions of an earlier version, of which the API server would drop what this one records.
#[tokio::test]
async fn definitions_that_are_missing_or_older_are_named_with_what_they_lack() {
    let options_of = Options {
        controller_manager: false,
        ..Options::default()
    };
    let control_plane = ControlPlane::start(options_of).await.unwrap();
    let admin = control_plane.admin();
    let options = options("ops", "{}", "1s");
    let report = check(admin, &options).await.to_string();
    assert!(
        report
            .contains("the CustomResourceDefinition codesessions.codeagents.dev is not installed"),
        "{report}"
    );

    let mut definitions = String::new();
    for mut definition in codeagent_operator::api::crds::all() {
        let schema = definition.spec.versions[0].schema.as_mut().unwrap();
        let root = schema.open_api_v3_schema.as_mut().unwrap();
        let status = root.properties.as_mut().unwrap().get_mut("status").unwrap();
        let status = status.properties.as_mut().unwrap();
        status.remove("webhook");
        definitions += &format!("---\n{}", serde_saphyr::to_string(&definition).unwrap());
    }
    admin.apply_manifests(&definitions).await.unwrap();
    let expected =
        "codesessions.codeagents.dev is older than this program: it lacks .status.webhook";
    // The document follows the definition by a moment.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let report = check(admin, &options).await.to_string();
        if report.contains(expected) {
            assert!(
                !report.contains("codeagents.codeagents.dev is older"),
                "{report}"
            );
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{report}");
    }

    // An operator begins nothing with them: what it recorded would be nowhere. It goes on by itself once they are replaced.
    let arguments = Arguments::calm().with("--operator-namespace", "default");
    let running = Running::start(admin.config(), arguments.parse().unwrap()).unwrap();
    until_logged(&running, expected).await;
    assert!(!running.log().contains("caches are filled"));
    let release = helm::template("ops", "default", "{}").unwrap();
    let definitions = release
        .split("\n---\n")
        .filter(|it| it.contains("kind: CustomResourceDefinition"));
    let definitions: Vec<&str> = definitions.collect();
    admin
        .apply_manifests(&definitions.join("\n---\n"))
        .await
        .unwrap();
    until_logged(&running, "caches are filled").await;
}

async fn until_logged(operator: &Running, words: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while !operator.log().contains(words) {
        let log = operator.log();
        assert!(tokio::time::Instant::now() < deadline, "{words}: {log}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The program itself: its exit code is what `helm test` sees.
#[tokio::test]
async fn the_program_fails_where_nothing_is_installed() {
    let control_plane = shared().await;
    let nobody = control_plane.user("nobody", None).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_codeagent-operator"))
        .args(["check", "--wait=1s", "--operator-namespace=default"])
        .env("KUBECONFIG", nobody.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(!output.status.success(), "{out}");
    assert!(out.contains("ok      Kubernetes: v1."), "{out}{error}");
    assert!(out.contains("FAILED  permissions: not allowed: "), "{out}");
    assert!(
        error.contains("the installation cannot work as it is"),
        "{error}"
    );
}
