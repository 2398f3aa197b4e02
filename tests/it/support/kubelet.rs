//! A stand-in for scheduler and kubelet: it says of a Pod what they would say, and runs nothing.

use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::world::{PATIENCE, World};

const GLANCE: Duration = Duration::from_millis(40);

/// The Jobs and Pods of a world's namespace.
pub struct Kubelet {
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
}

impl Kubelet {
    pub fn of(world: &World) -> Self {
        Self {
            jobs: world.namespace.api(),
            pods: world.namespace.api(),
        }
    }

    /// The Pod of the Job of this name, as soon as the Job's controller has made it.
    pub async fn pod_of(&self, job: &str) -> Pod {
        let selected = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.pods.list(&selected).await.unwrap().items;
            if let Some(pod) = found.into_iter().next() {
                return pod;
            }
            assert!(Instant::now() < deadline, "no Pod of {job}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    pub async fn job(&self, name: &str) -> Job {
        self.jobs.get(name).await.unwrap()
    }

    /// The Job's Pod is at this phase, with this state of the agent's container, and more.
    async fn report(&self, job: &str, phase: &str, state: Value, more: Value) {
        let pod = self.pod_of(job).await;
        let mut status = json!({
            "phase": phase,
            "containerStatuses": [{
                "name": "agent", "image": "agent:1", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            }],
        });
        status
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let patch = Patch::Merge(json!({"status": status}));
        self.pods
            .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// The agent works.
    pub async fn runs(&self, job: &str) {
        let state = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        self.report(job, "Running", state, json!({})).await;
    }

    /// The agent's container waits, for this reason.
    pub async fn waits(&self, job: &str, reason: &str, message: &str) {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        self.report(job, "Pending", state, json!({})).await;
    }

    /// The agent's container has ended, with this reason and termination message; `more` is the rest of the Pod's status.
    pub async fn ends(&self, job: &str, code: i32, reason: &str, message: &str, more: Value) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let state = json!({"terminated": {
            "exitCode": code, "reason": reason, "message": message,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:30Z",
        }});
        self.report(job, phase, state, more).await;
    }

    /// Deletes the Job and its Pod, as a person does.
    pub async fn delete(&self, job: &str) {
        let parameters = DeleteParams::background().grace_period(0);
        self.jobs.delete(job, &parameters).await.unwrap();
    }

    /// Keeps a Pod from going until it is let go: an end that takes its time.
    pub async fn hold(&self, pod: &Pod) {
        let now = self.pods.get(&pod.name_any()).await.unwrap();
        let mut all = now.finalizers().to_vec();
        all.push("example.com/held".to_owned());
        let patch = Patch::Merge(json!({"metadata": {"finalizers": all}}));
        self.pods
            .patch(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Lets it go.
    pub async fn let_go(&self, pod: &Pod) {
        let now = self.pods.get(&pod.name_any()).await.unwrap();
        let rest = now
            .finalizers()
            .iter()
            .filter(|it| *it != "example.com/held");
        let rest: Vec<&String> = rest.collect();
        let patch = Patch::Merge(json!({"metadata": {"finalizers": rest}}));
        self.pods
            .patch(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until somebody has asked for the Pod's deletion.
    pub async fn until_deleted(&self, pod: &Pod) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.pods.get(&pod.name_any()).await.unwrap();
            if now.metadata.deletion_timestamp.is_some() {
                return;
            }
            assert!(Instant::now() < deadline, "nobody deletes the Pod");
            tokio::time::sleep(GLANCE).await;
        }
    }
}
