//! What helm itself does with the chart in a cluster: install, upgrade, uninstall.

use std::{fs, path::Path, process::Command};

use codeagent_harness::{ControlPlane, Options};
use serde_json::Value;

use crate::helm;

const NAMESPACE: &str = "codeagent-system";
const SESSIONS: &str = "codesessions.codeagents.dev";

/// A control plane of one's own: the definitions belong to one release per cluster.
struct Cluster {
    control_plane: ControlPlane,
}

impl Cluster {
    async fn start() -> Cluster {
        let options = Options {
            controller_manager: false,
            ..Options::default()
        };
        Cluster {
            control_plane: ControlPlane::start(options).await.unwrap(),
        }
    }

    /// Runs helm on a release called `codeagent-operator`.
    fn helm(&self, arguments: &[&str], chart: Option<&Path>) -> String {
        let release = ("codeagent-operator", NAMESPACE);
        let done = self.try_helm(arguments, release, chart);
        done.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// Runs helm on a release, by its name and namespace. Returns what it printed, or what it complained about.
    fn try_helm(
        &self,
        arguments: &[&str],
        release: (&str, &str),
        chart: Option<&Path>,
    ) -> Result<String, String> {
        let home = self.control_plane.directory().join("helm");
        let mut command: Command = helm::command();
        command
            .args(arguments)
            .arg(release.0)
            .args(chart)
            .args(["--namespace", release.1])
            .env("KUBECONFIG", self.control_plane.admin().kubeconfig());
        for variable in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &home);
        }
        helm::run(&mut command, "")
    }

    /// Runs kubectl and returns the object that it prints.
    async fn kubectl(&self, arguments: &[&str], input: &str) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        let admin = self.control_plane.admin();
        let output = admin.kubectl_with_input(&arguments, input).await.unwrap();
        assert!(output.success(), "{arguments:?}: {}", output.stderr);
        serde_json::from_str(&output.stdout).unwrap()
    }

    async fn columns(&self) -> usize {
        let definition = self.kubectl(&["get", "crd", SESSIONS], "").await;
        definition["spec"]["versions"][0]["additionalPrinterColumns"]
            .as_array()
            .map_or(0, Vec::len)
    }
}

/// The chart as it might have been in an earlier version: its sessions had fewer columns.
fn earlier_chart() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(helm::chart().join("."))
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let path = directory
        .path()
        .join("files/crds/codeagents.dev_codesessions.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array_mut()
        .unwrap();
    columns.truncate(1);
    fs::write(&path, serde_saphyr::to_string(&definition).unwrap()).unwrap();
    directory
}

/// What the text between `<<'EOF'` and `EOF` would apply.
fn manifests_in(notes: &str) -> &str {
    let (_, rest) = notes.split_once("<<'EOF'\n").unwrap();
    let (manifests, _) = rest.split_once("\nEOF").unwrap();
    manifests
}

#[tokio::test]
async fn definitions_and_sessions_are_upgraded_and_survive_an_uninstall() {
    let cluster = Cluster::start().await;
    let earlier = earlier_chart();
    let notes = cluster.helm(&["install", "--create-namespace"], Some(earlier.path()));
    assert_eq!(cluster.columns().await, 1);
    assert!(notes.contains("serves all namespaces"), "{notes}");
    assert!(!notes.contains("WARNING"), "{notes}");

    // The next steps that are printed work as they are.
    let created = cluster
        .kubectl(
            &["apply", "--validate=strict", "-f", "-"],
            manifests_in(&notes),
        )
        .await;
    let kinds: Vec<&Value> = created["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["kind"])
        .collect();
    assert_eq!(kinds, ["CodeAgent", "CodeSession"]);
    let session = ["get", "codesession", "fix-login"];
    let before = cluster.kubectl(&session, "").await;
    assert_eq!(before["status"]["phase"], "Pending");

    cluster.helm(&["upgrade"], Some(&helm::chart()));
    assert!(cluster.columns().await > 1);

    cluster.helm(&["uninstall"], None);
    let left = cluster
        .kubectl(
            &[
                "get",
                "deployments,serviceaccounts,roles,rolebindings,services",
                "-n",
                NAMESPACE,
            ],
            "",
        )
        .await;
    let left: Vec<&Value> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["metadata"]["name"])
        .collect();
    assert_eq!(left, [&Value::Null; 0]);
    let after = cluster.kubectl(&session, "").await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);

    // The definitions that were left are taken over again.
    let notes = cluster.helm(
        &[
            "install",
            "--set",
            "watchNamespaces={team-a},development.allowHttpEndpoints=true,rbac.create=false,crds.keep=false,image.tag=20261130",
        ],
        Some(&helm::chart()),
    );
    assert!(notes.contains("serves the namespaces team-a."), "{notes}");
    assert!(
        notes.contains("WARNING: development.allowHttpEndpoints is on"),
        "{notes}"
    );
    assert!(notes.contains("WARNING: crds.keep is off"), "{notes}");
    let image = cluster
        .kubectl(
            &["get", "deployment", "codeagent-operator", "-n", NAMESPACE],
            "",
        )
        .await["spec"]["template"]["spec"]["containers"][0]["image"]
        .clone();
    assert_eq!(image, "ghcr.io/codeagents-dev/codeagent-operator:20261130");
    assert!(
        notes.contains("kubectl --namespace team-a apply -f -"),
        "{notes}"
    );
    let again = cluster.kubectl(&session, "").await;
    assert_eq!(again["metadata"]["uid"], before["metadata"]["uid"]);
}

/// Two operators for the same sessions would both launch and stop them.
#[tokio::test]
async fn sessions_that_another_release_serves_are_refused_by_its_name() {
    let cluster = Cluster::start().await;
    let chart = helm::chart();
    let install = |release: &'static str, values: &str| {
        let arguments = ["install", "--create-namespace", "--set", values];
        cluster.try_helm(&arguments, (release, release), Some(&chart))
    };
    let listed =
        "crds.install=false,rbac.extendUserRoles=false,rbac.userRoles=false,watchNamespaces";

    // A namespace that is not there.
    let refused = install("early", &format!("{listed}={{team-a}}")).unwrap_err();
    assert!(refused.contains("\"team-a\" not found"), "{refused}");
    cluster
        .try_helm(&["uninstall"], ("early", "early"), None)
        .unwrap();

    cluster
        .kubectl(&["create", "namespace", "team-a"], "")
        .await;
    cluster
        .kubectl(&["create", "namespace", "team-b"], "")
        .await;
    install("first", &format!("{listed}={{team-a}}")).unwrap();
    let refused = install("second", &format!("{listed}={{team-b,team-a}}")).unwrap_err();
    let said = "the release first in the namespace first serves the namespace team-a already";
    assert!(refused.contains(said), "{refused}");
    install("second", &format!("{listed}={{team-b}}")).unwrap();

    install("third", "crds.install=false").unwrap();
    let refused = install("fourth", "crds.install=false").unwrap_err();
    let said = "the release third in the namespace third serves all namespaces already";
    assert!(refused.contains(said), "{refused}");
    // It goes on itself.
    let upgrade = ["upgrade", "--set", "crds.install=false,replicas=2"];
    cluster
        .try_helm(&upgrade, ("third", "third"), Some(&chart))
        .unwrap();
}
