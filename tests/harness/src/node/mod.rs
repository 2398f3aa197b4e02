//! A cluster of one real node: the control plane, kube-scheduler, kubelet, containerd and a network for Pods.
//!
//! It runs as root, in namespaces of its own ([`run_isolated`]): nothing of it outlives the process that made them.

mod image;
mod isolation;
mod settings;

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{process::Command, time::Instant};

pub use image::Image;
pub use isolation::{Ended, run as run_isolated, supported};

use crate::{
    access::{Access, AccessError},
    binaries::{BinariesError, Sources},
    control_plane::{ControlPlane, Options, SERVICE_ADDRESS, StartError},
    go_build::Program,
    manifests::ApplyError,
    process::Process,
};

/// The node's name.
pub const NODE_NAME: &str = "node";

/// Its address, of the range for documentation. Its network has no other hosts.
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How long containerd and the node may take to be ready: five seconds on a quiet machine.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

const KUBELET: Program = Program {
    name: "kubelet",
    package: "k8s.io/kubernetes/cmd/kubelet",
    built_name: "kubelet",
};

const SCHEDULER: Program = Program {
    name: "kube-scheduler",
    package: "k8s.io/kubernetes/cmd/kube-scheduler",
    built_name: "kube-scheduler",
};

/// The rights of a kubelet, which is no member of a group that upstream binds.
const NODE_BINDING: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: harness-node}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:nodes}]
";

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The control plane did not start.
    #[error("the control plane did not start")]
    ControlPlane(#[from] StartError),
    /// There is no kubelet or scheduler to start.
    #[error("the node's programs are not available")]
    Binaries(#[from] BinariesError),
    /// Keys or certificates could not be made.
    #[error("certificates could not be generated")]
    Certificates(#[from] rcgen::Error),
    /// An identity could not be made.
    #[error("no access to the control plane")]
    Access(#[from] AccessError),
    /// The node's rights were refused.
    #[error("the node's objects were not applied")]
    Manifests(#[from] ApplyError),
    /// The API server refused something else.
    #[error("{doing}")]
    Kubernetes {
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// Files or processes could not be made.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A program is not ready in time, or has ended.
    #[error("{program} is not ready ({answer}); its log ends with:\n{log}")]
    NotReady {
        /// Which one.
        program: &'static str,
        /// What it answered, or how it ended.
        answer: String,
        /// The last lines of its log.
        log: String,
    },
}

impl ClusterError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
        let doing = doing.into();
        move |source| ClusterError::Io { doing, source }
    }
}

/// A running cluster with one node.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order.
    kubelet: Process,
    _scheduler: Process,
    containerd: Process,
    control_plane: ControlPlane,
    files: PathBuf,
}

impl Cluster {
    /// Starts everything and waits until the node is ready. Only within [`run_isolated`]. `files` is a directory for what takes much
    /// space (images, the files of containers); it is not removed.
    ///
    /// # Errors
    ///
    /// If a program is not available or does not get ready; the error holds the end of its log.
    pub async fn start(files: &Path) -> Result<Cluster, ClusterError> {
        isolation::enter(NODE_ADDRESS, SERVICE_ADDRESS)
            .map_err(ClusterError::io("entering the node's namespaces"))?;
        let binaries = tokio::task::spawn_blocking(provide)
            .await
            .map_err(io::Error::other)
            .map_err(ClusterError::io("preparing the node's programs"))??;
        fs::create_dir_all(files)
            .map_err(ClusterError::io(format!("creating {}", files.display())))?;
        let control_plane = ControlPlane::start(Options {
            node_address: Some(NODE_ADDRESS),
            ..Options::default()
        })
        .await?;
        let mut containerd = start_containerd(&control_plane, files)?;
        wait_for_containerd(&mut containerd).await?;
        let pause = Image {
            reference: settings::PAUSE_IMAGE.to_owned(),
            program: PathBuf::from("/bin/sleep"),
            path: "/pause".to_owned(),
            user: "65535:65535".to_owned(),
            entrypoint: vec!["/pause".to_owned(), "infinity".to_owned()],
            command: Vec::new(),
        };
        import(&pause, files).await?;

        control_plane.admin().apply_manifests(NODE_BINDING).await?;
        let scheduler = start_scheduler(&control_plane, &binaries)?;
        let mut kubelet = start_kubelet(&control_plane, &binaries)?;
        wait_for_node(control_plane.admin(), &mut kubelet).await?;
        Ok(Cluster {
            kubelet,
            _scheduler: scheduler,
            containerd,
            control_plane,
            files: files.to_owned(),
        })
    }

    /// The control plane.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Access as a member of `system:masters`.
    pub fn admin(&self) -> &Access {
        self.control_plane.admin()
    }

    /// Makes an image known to the node, which pulls none: `imagePullPolicy` has to be `Never` or `IfNotPresent`.
    ///
    /// # Errors
    ///
    /// If the image cannot be made or is refused.
    pub async fn import(&self, image: &Image) -> Result<(), ClusterError> {
        import(image, &self.files).await
    }

    /// Copies the logs of everything to a directory.
    ///
    /// # Errors
    ///
    /// If files cannot be read or written.
    pub fn save_logs(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(self.control_plane.directory())? {
            let entry = entry?;
            let path = entry.path();
            let log = path.extension().is_some_and(|extension| extension == "log");
            if log && entry.metadata()?.len() > 0 {
                fs::copy(&path, directory.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Stops the kubelet and containerd. What they have started ends with the namespaces.
    ///
    /// # Errors
    ///
    /// If their end cannot be waited for.
    pub async fn stop(self) -> io::Result<()> {
        self.kubelet.stop(Duration::from_secs(5)).await?;
        self.containerd.stop(Duration::from_secs(5)).await
    }
}

/// Where the kubelet and the scheduler are.
fn provide() -> Result<PathBuf, BinariesError> {
    Sources::from_environment()?.provide_programs(&[KUBELET, SCHEDULER])
}

/// Makes sure that everything which has to be built is there. Building needs a network, which an isolated process does not have: call
/// it before [`run_isolated`].
///
/// # Errors
///
/// If something is missing and cannot be built.
pub async fn prepare() -> Result<(), BinariesError> {
    tokio::task::spawn_blocking(|| {
        let sources = Sources::from_environment()?;
        sources.provide(&crate::Component::ALL)?;
        provide().map(|_| ())
    })
    .await
    .unwrap_or_else(|panic| Err(BinariesError::io("building")(io::Error::other(panic))))
}

fn write(directory: &Path, name: &str, content: &str) -> Result<PathBuf, ClusterError> {
    let path = directory.join(name);
    fs::write(&path, content).map_err(ClusterError::io(format!("writing {}", path.display())))?;
    Ok(path)
}

fn spawn(
    name: &'static str,
    program: &Path,
    arguments: Vec<String>,
    control_plane: &ControlPlane,
) -> Result<Process, ClusterError> {
    Process::spawn(name, program, arguments, control_plane.directory())
        .map_err(ClusterError::io(format!("starting {name}")))
}

fn start_containerd(control_plane: &ControlPlane, files: &Path) -> Result<Process, ClusterError> {
    let directory = control_plane.directory();
    let network = directory.join("cni");
    fs::create_dir_all(&network)
        .map_err(ClusterError::io("creating a directory for the network"))?;
    write(
        &network,
        "10-pods.conflist",
        &settings::pod_network().to_string(),
    )?;
    let root = std::path::absolute(files.join("containerd"))
        .map_err(ClusterError::io("naming a directory"))?;
    let configuration = write(
        directory,
        "containerd.toml",
        &settings::containerd(&root, &network),
    )?;
    let arguments = vec!["--config".to_owned(), configuration.display().to_string()];
    spawn(
        "containerd",
        Path::new("containerd"),
        arguments,
        control_plane,
    )
}

fn start_scheduler(control_plane: &ControlPlane, binaries: &Path) -> Result<Process, ClusterError> {
    let access = control_plane.user("system:kube-scheduler", None)?;
    let kubeconfig = access.kubeconfig().display();
    let arguments = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ];
    spawn(
        SCHEDULER.name,
        &binaries.join(SCHEDULER.name),
        arguments,
        control_plane,
    )
}

fn start_kubelet(control_plane: &ControlPlane, binaries: &Path) -> Result<Process, ClusterError> {
    let directory = control_plane.directory();
    let access = control_plane.user(&format!("system:node:{NODE_NAME}"), Some("system:nodes"))?;
    let server = control_plane.server_identity(NODE_NAME, NODE_ADDRESS)?;
    let certificate = write(directory, "kubelet.crt", &server.certificate)?;
    let key = write(directory, "kubelet.key", &server.key)?;
    let configuration = settings::kubelet(NODE_ADDRESS, directory, &certificate, &key);
    let configuration = write(directory, "kubelet.json", &configuration.to_string())?;
    let arguments = vec![
        format!("--config={}", configuration.display()),
        format!("--kubeconfig={}", access.kubeconfig().display()),
        format!("--root-dir={}", settings::KUBELET_ROOT),
        format!("--node-ip={NODE_ADDRESS}"),
        format!("--hostname-override={NODE_NAME}"),
    ];
    spawn(
        KUBELET.name,
        &binaries.join(KUBELET.name),
        arguments,
        control_plane,
    )
}

/// Runs ctr, containerd's own client, in the kubelet's part of containerd.
async fn ctr(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ctr")
        .args([
            "--address",
            settings::CONTAINERD_SOCKET,
            "--namespace",
            "k8s.io",
        ])
        .args(arguments)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

async fn import(image: &Image, files: &Path) -> Result<(), ClusterError> {
    let failed = || ClusterError::io(format!("importing the image {}", image.reference));
    let archive = files.join("image.tar");
    let (to_write, path) = (image.clone(), archive.clone());
    tokio::task::spawn_blocking(move || to_write.write(&path))
        .await
        .map_err(io::Error::other)
        .and_then(|written| written)
        .map_err(failed())?;
    let path = archive.display().to_string();
    ctr(&["images", "import", &path])
        .await
        .map_err(io::Error::other)
        .map_err(failed())?;
    fs::remove_file(archive).map_err(failed())
}

/// Asks until the answer is yes, the program has ended or the time is over.
async fn wait_until<F>(
    program: &'static str,
    process: &mut Process,
    ask: impl Fn() -> F,
) -> Result<(), ClusterError>
where
    F: Future<Output = Result<(), String>>,
{
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let Err(mut answer) = ask().await else {
            return Ok(());
        };
        let ended = process
            .exit_status()
            .map_err(ClusterError::io(format!("watching {program}")))?;
        if let Some(status) = ended {
            answer = format!("it ended with {status}");
        }
        if ended.is_some() || Instant::now() >= deadline {
            return Err(ClusterError::NotReady {
                program,
                answer,
                log: process.log_tail(),
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn wait_for_containerd(containerd: &mut Process) -> Result<(), ClusterError> {
    wait_until("containerd", containerd, || {
        ctr(&["images", "list", "--quiet"])
    })
    .await
}

/// Waits until the node is ready, and lets Pods onto it, as the controller of nodes would.
async fn wait_for_node(admin: &Access, kubelet: &mut Process) -> Result<(), ClusterError> {
    let nodes: Api<Node> = Api::all(admin.client()?);
    wait_until(KUBELET.name, kubelet, || async {
        let node = nodes
            .get(NODE_NAME)
            .await
            .map_err(|error| error.to_string())?;
        let conditions = node
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        match conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
        {
            Some(ready) if ready.status == "True" => Ok(()),
            Some(ready) => Err(ready.message.clone().unwrap_or_default()),
            None => Err("it has not reported yet".to_owned()),
        }
    })
    .await?;
    nodes
        .patch(
            NODE_NAME,
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"taints": null}})),
        )
        .await
        .map(|_| ())
        .map_err(|source| ClusterError::Kubernetes {
            doing: "admitting Pods to the node",
            source: Box::new(source),
        })
}
