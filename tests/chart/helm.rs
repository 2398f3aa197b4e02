//! Running helm with this repository's chart.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use codeagent_harness::HelmSources;
use serde_json::Value;

/// The oldest Kubernetes that the chart is made for. Without a cluster, helm assumes one of its own age.
const KUBERNETES: &str = "1.33.0";

/// The annotation of what is not part of a release, but made by an action such as `helm test`.
pub const HOOK: &str = "helm.sh/hook";

/// A kind that newer clusters serve and that the chart can do without.
const OPTIONAL_KIND: &str = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";

/// The chart's directory.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/codeagent-operator")
}

/// Runs helm as nobody: without a cluster, and without settings and plugins of the user's.
pub fn command() -> Command {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let helm = HELM.get_or_init(|| {
        HelmSources::from_environment()
            .and_then(|sources| sources.provide())
            .unwrap_or_else(|error| panic!("{error}"))
    });
    let mut command = Command::new(helm);
    for variable in [
        "HELM_CONFIG_HOME",
        "HELM_CACHE_HOME",
        "HELM_DATA_HOME",
        "KUBECONFIG",
    ] {
        command.env(variable, "/nonexistent");
    }
    command
}

/// Runs helm with something to read. Returns what it printed, or what it complained about.
pub fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A helm that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// Runs `helm lint --strict` with these values.
pub fn lint(values: &str) -> Result<String, String> {
    run(
        command()
            .args(["lint", "--strict", "--kube-version", KUBERNETES])
            .args(["--values", "-"])
            .arg(chart()),
        values,
    )
}

/// The manifests of a release with these values, as YAML, for a cluster that serves no kind that the chart can do without.
pub fn template(release: &str, namespace: &str, values: &str) -> Result<String, String> {
    run(&mut template_command(release, namespace), values)
}

/// The same for a cluster that serves all of them.
pub fn template_in_full(release: &str, namespace: &str, values: &str) -> Result<String, String> {
    let mut command = template_command(release, namespace);
    command.args(["--api-versions", OPTIONAL_KIND]);
    run(&mut command, values)
}

fn template_command(release: &str, namespace: &str) -> Command {
    let mut command = command();
    command
        .args(["template", release])
        .arg(chart())
        .args(["--namespace", namespace, "--kube-version", KUBERNETES])
        .args(["--values", "-"]);
    command
}

/// The objects of the release `ops` in the namespace `ops-system`, with these values; what `helm test` would make is not among them.
pub fn render(values: &str) -> Vec<Value> {
    let mut objects = objects(&template("ops", "ops-system", values).unwrap());
    objects.retain(|object| object["metadata"]["annotations"].get(HOOK).is_none());
    objects
}

/// The documents of a YAML stream.
pub fn objects(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// The only object of a kind.
pub fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert_eq!(found.next(), None, "more than one {kind}");
    one
}
