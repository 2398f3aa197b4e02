//! The operator's Pods: which one leads, its process, and what that uses.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::world::{Failure, RELEASE, SYSTEM, World};

/// What selects the operator's Pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=codeagent-operator";

/// One Pod of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPod {
    pub name: String,
    pub ready: bool,
    /// Whether it waits for a node.
    pub pending: bool,
    pub restarts: u64,
    address: String,
    container: String,
}

impl OperatorPod {
    fn read(pod: &Value) -> OperatorPod {
        let text = |pointer| {
            pod.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let container = pod.pointer("/status/containerStatuses/0");
        let of_container = |field: &str| {
            container
                .and_then(|status| status.get(field))
                .cloned()
                .unwrap_or_default()
        };
        OperatorPod {
            name: text("/metadata/name").to_owned(),
            ready: of_container("ready") == Value::Bool(true),
            pending: text("/status/phase") == "Pending",
            restarts: of_container("restartCount").as_u64().unwrap_or_default(),
            address: text("/status/podIP").to_owned(),
            container: of_container("containerID")
                .as_str()
                .unwrap_or_default()
                .trim_start_matches("containerd://")
                .to_owned(),
        }
    }

    /// The process id of its container: that of the process in the container's control group.
    pub fn process(&self) -> Result<u32, Failure> {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A process that has just ended has no groups any more.
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if !self.container.is_empty() && groups.contains(&self.container) {
                return Ok(id);
            }
        }
        Err(format!("the Pod {} has no process", self.name).into())
    }

    /// Kills the operator in it, as the kernel does when memory is short.
    pub fn kill(&self) -> Result<(), Failure> {
        let id = self.process()?.to_string();
        let killed = std::process::Command::new("kill")
            .args(["-s", "KILL", &id])
            .status()?;
        match killed.success() {
            true => Ok(()),
            false => Err(format!("the process {id} could not be killed").into()),
        }
    }

    pub fn usage(&self) -> Result<Usage, Failure> {
        Usage::read(self.process()?)
    }
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory in MiB, and the most that it was.
    pub resident: u64,
    pub peak: u64,
    /// What the kernel would not give up without swapping, in MiB: what the limit is for.
    pub anonymous: u64,
    pub processor: Duration,
}

impl Usage {
    fn read(id: u32) -> Result<Usage, Failure> {
        let directory = Path::new("/proc").join(id.to_string());
        let status = std::fs::read_to_string(directory.join("status"))?;
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
                .map(|kibibytes| kibibytes / 1024)
        };
        let stat = std::fs::read_to_string(directory.join("stat"))?;
        // After the name, in which anything may stand: the 12th and 13th are ticks of a hundredth second in user and system.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Usage {
            resident: mebibytes("VmRSS:").ok_or("no VmRSS")?,
            peak: mebibytes("VmHWM:").ok_or("no VmHWM")?,
            anonymous: mebibytes("RssAnon:").ok_or("no RssAnon")?,
            processor: Duration::from_millis(ticks * 10),
        })
    }
}

impl World {
    /// The operator's Pods that are not about to end.
    pub async fn operator_pods(&self) -> Result<Vec<OperatorPod>, Failure> {
        let pods = self
            .get(&["pods", "--namespace", SYSTEM, "--selector", SELECTOR])
            .await?;
        let items = pods
            .get("items")
            .and_then(Value::as_array)
            .ok_or("no Pods")?;
        Ok(items
            .iter()
            .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
            .map(OperatorPod::read)
            .collect())
    }

    /// The Pod that holds the Lease, once there is one that does.
    pub async fn leader(&self) -> Result<OperatorPod, Failure> {
        self.until(
            "a ready Pod leads",
            || async {
                let lease = self.get(&["lease", RELEASE, "--namespace", SYSTEM]).await?;
                let holder = lease
                    .pointer("/spec/holderIdentity")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let holder = holder.split('_').next().unwrap_or_default().to_owned();
                Ok((holder, self.operator_pods().await?))
            },
            |(holder, pods)| {
                pods.iter()
                    .find(|pod| pod.ready && pod.name == *holder)
                    .cloned()
            },
        )
        .await
    }

    /// Waits until exactly so many Pods of the operator are there, all ready.
    pub async fn until_ready(&self, replicas: usize) -> Result<Vec<OperatorPod>, Failure> {
        self.until(
            &format!("{replicas} Pods are ready"),
            || self.operator_pods(),
            |pods| {
                (pods.len() == replicas && pods.iter().all(|pod| pod.ready)).then(|| pods.clone())
            },
        )
        .await
    }

    /// Waits until the operator in a Pod whose process was killed answers that it is ready.
    pub async fn until_restarted(&self, killed: &OperatorPod) -> Result<(), Failure> {
        let url = format!("http://{}:8080/readyz", killed.address);
        self.until(
            "the killed operator is ready again",
            || async {
                let pods = self.operator_pods().await?;
                let restarted = pods
                    .iter()
                    .any(|pod| pod.name == killed.name && pod.restarts > killed.restarts);
                let answers = reqwest::get(&url)
                    .await
                    .is_ok_and(|answer| answer.status().is_success());
                Ok((restarted, answers))
            },
            |&(restarted, answers)| (restarted && answers).then_some(()),
        )
        .await
    }
}
