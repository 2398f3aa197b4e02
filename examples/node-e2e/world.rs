//! What the steps share: the cluster, helm, kubectl and the simulated providers.

use std::error::Error;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeagent_harness::node::Cluster;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::images::{OPERATOR, SIMULATOR, TAG};

/// How long anything may take that is waited for: many times what it takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(180);

pub const RELEASE: &str = "codeagent-operator";
pub const SYSTEM: &str = "codeagent-system";

pub type Failure = Box<dyn Error>;

pub struct World {
    pub cluster: Cluster,
    helm: PathBuf,
    http: reqwest::Client,
}

impl World {
    pub fn new(cluster: Cluster, helm: &Path) -> World {
        World {
            cluster,
            helm: helm.to_owned(),
            http: reqwest::Client::new(),
        }
    }

    /// Runs kubectl as the administrator; what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.kubectl_with_input(arguments, "").await
    }

    pub async fn kubectl_with_input(
        &self,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, Failure> {
        let output = self
            .cluster
            .admin()
            .kubectl_with_input(arguments, input)
            .await?;
        match output.success() {
            true => Ok(output.stdout),
            false => Err(format!(
                "kubectl {}: {}{}",
                arguments.join(" "),
                output.stdout,
                output.stderr
            )
            .into()),
        }
    }

    /// What `kubectl get ARGUMENTS -o json` prints.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let mut all = vec!["get"];
        all.extend(arguments);
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.kubectl(&all).await?)?)
    }

    pub async fn apply(&self, manifests: &str) -> Result<(), Failure> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifests)
            .await
            .map(|_| ())
    }

    /// Runs helm as the administrator, without settings of the user's; what it printed.
    pub async fn helm(&self, arguments: &[&str], values: &str) -> Result<String, Failure> {
        let home = self.cluster.control_plane().directory();
        let values_file = home.join("values.yaml");
        std::fs::write(&values_file, values)?;
        let mut command = tokio::process::Command::new(&self.helm);
        command.args(arguments).args(["--namespace", SYSTEM]);
        if !values.is_empty() {
            command.arg("--values").arg(&values_file);
        }
        for variable in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
            command.env(variable, home.join("helm"));
        }
        let output = command
            .env("KUBECONFIG", self.cluster.admin().kubeconfig())
            .kill_on_drop(true)
            .output()
            .await?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(stdout),
            false => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                Err(format!("helm {}: {stdout}{stderr}", arguments.join(" ")).into())
            }
        }
    }

    /// Asks until the answer is there; what was asked last is part of the error.
    pub async fn until<T, A, F>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
        holds: impl Fn(&A) -> Option<T>,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<A, Failure>>,
        A: Debug,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask().await;
            if let Some(found) = answer.as_ref().ok().and_then(&holds) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(
                    format!("{what}: not after {} s: {answer:?}", PATIENCE.as_secs()).into(),
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Starts the simulated providers as a Pod and returns its address.
    pub async fn start_simulator(&self) -> Result<Providers, Failure> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "providers", "namespace": "default"},
            "spec": {
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "simulator",
                    "image": format!("{SIMULATOR}:{TAG}"),
                    "imagePullPolicy": "Never",
                    "args": ["--listen=0.0.0.0:9800", "--script=creating=1s running=5s pr=true"],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        });
        self.apply(&pod.to_string()).await?;
        let address = self
            .until(
                "the simulated providers have an address",
                || self.get(&["pod", "providers", "--namespace", "default"]),
                |pod| pod.pointer("/status/podIP")?.as_str().map(str::to_owned),
            )
            .await?;
        let providers = Providers {
            address,
            http: self.http.clone(),
        };
        self.until(
            "the simulated providers answer",
            || providers.ask("info"),
            |_| Some(()),
        )
        .await?;
        Ok(providers)
    }

    /// The conditions and the pull request of a session.
    pub async fn session(&self, name: &str) -> Result<Value, Failure> {
        self.get(&["codesession", name, "--namespace", "default"])
            .await
    }

    /// Waits until a session has ended with a pull request; returns its URL.
    pub async fn until_finished(&self, name: &str) -> Result<String, Failure> {
        self.until(
            &format!("the session {name} has its pull request"),
            || self.session(name),
            |session| {
                let status = session.get("status")?;
                let finished = status.get("phase")?.as_str()? == "Finished";
                let url = status.pointer("/pullRequest/url")?.as_str()?;
                finished.then(|| url.to_owned())
            },
        )
        .await
    }

    /// Writes down what the cluster looked like when something failed.
    pub async fn describe(&self, directory: &Path) {
        let mut text = String::new();
        for arguments in [
            &[
                "get",
                "all,lease,csess,cagent",
                "--all-namespaces",
                "-o",
                "wide",
            ][..],
            &["describe", "pods", "--all-namespaces"],
            &["get", "events", "--all-namespaces"],
            &["get", "csess,cagent", "--all-namespaces", "-o", "yaml"],
            &[
                "logs",
                "--namespace",
                SYSTEM,
                "--selector",
                "app.kubernetes.io/name=codeagent-operator",
                "--tail=-1",
                "--prefix",
            ],
        ] {
            let output = match self.kubectl(arguments).await {
                Ok(output) => output,
                Err(error) => error.to_string(),
            };
            text.push_str(&format!("### kubectl {}\n{output}\n", arguments.join(" ")));
        }
        let file = directory.join("cluster.txt");
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("node-e2e: writing {}: {error}", file.display());
        }
    }

    /// Keeps the logs and stops the node.
    pub async fn stop(self, directory: &Path) -> std::io::Result<()> {
        self.cluster.save_logs(directory)?;
        self.cluster.stop().await
    }
}

/// The simulated providers, seen through their control API.
pub struct Providers {
    pub address: String,
    http: reqwest::Client,
}

impl Providers {
    /// An answer of the control API.
    pub async fn ask(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("http://{}:9800/control/{path}", self.address);
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?)
    }

    /// Tells the control API something.
    pub async fn tell(&self, path: &str, what: &Value) -> Result<(), Failure> {
        let url = format!("http://{}:9800/control/{path}", self.address);
        self.http
            .post(url)
            .json(what)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    /// How many sessions were paid for.
    pub async fn launches(&self) -> Result<u64, Failure> {
        let answer = self.ask("launches?kind=session").await?;
        Ok(answer
            .get("count")
            .and_then(Value::as_u64)
            .ok_or("no count of launches")?)
    }

    /// The values of the chart: its defaults, the image of this node, and the simulated providers instead of the real ones.
    pub fn values(&self) -> Value {
        let endpoint = |(provider, port): (&str, u16)| {
            format!(
                "--provider-endpoint={provider}=http://{}:{port}",
                self.address
            )
        };
        let flags: Vec<String> = [
            ("cursor", 9801),
            ("firebender", 9802),
            ("flapjack", 9803),
            ("firetiger", 9804),
        ]
        .map(endpoint)
        .into_iter()
        .chain(["--poll-min=500ms".to_owned()])
        .collect();
        json!({
            "image": {"repository": OPERATOR, "tag": TAG, "pullPolicy": "Never"},
            "development": {"allowHttpEndpoints": true},
            "extraArgs": flags,
        })
    }
}
