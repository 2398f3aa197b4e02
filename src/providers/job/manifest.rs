//! What is created for a launch: the Secret with the task, and the Job. Pure.

use codeagent_runner_protocol as runner;
use codeagent_runner_protocol::{MAX_PROMPT_BYTES, paths};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Map, Value, json};

use crate::api::{
    CREDENTIAL_LABEL, DEFAULT_GRACE_SECONDS, ENVIRONMENT_LABEL, GROUP, JobAdapter, JobGitHost,
    JobSpec, VERSION,
};
use crate::domain::ids::LaunchKey;
use crate::domain::remote::{ErrorClass, ProviderError};
use crate::providers::contract::{Cluster, LaunchRequest, LaunchedFor, Manifest, ManifestKind};

/// The label of Job, Pod and Secret that holds the session's uid: whose they are.
pub(super) const SESSION_UID_LABEL: &str = "codeagents.dev/session-uid";
/// The annotation with the session's name, which may be longer than a label.
const SESSION_ANNOTATION: &str = "codeagents.dev/session";
/// The annotation of a Job that was told to stop, with the time.
pub(super) const STOPPED_ANNOTATION: &str = "codeagents.dev/stopped-at";
/// The container of the agent.
pub(super) const AGENT_CONTAINER: &str = "agent";
/// The init container that brings the runner.
pub(super) const RUNNER_CONTAINER: &str = "runner";

const PREFIX: &str = "codeagent-";
/// What runs in the Pod is no one in particular.
const USER: i64 = 65532;
/// What the runner keeps of the grace period for its report, in seconds.
const REPORT_SECONDS: i64 = 5;

/// The name of the Job, and of its Secret.
pub(super) fn job_name(key: &LaunchKey) -> String {
    format!("{PREFIX}{}", key.as_uuid())
}

/// Whether a Job was created for the CodeSession with this uid.
pub(super) fn is_of(job: &Job, uid: &str) -> bool {
    label(job, SESSION_UID_LABEL) == Some(uid)
}

fn label<'a>(job: &'a Job, name: &str) -> Option<&'a str> {
    job.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// The Secrets that the Pod is given, each with the label by which its owner agrees to that.
pub(super) fn secrets(spec: &JobSpec) -> Vec<(&str, &'static str)> {
    let variables = spec.env.iter().flatten();
    let keys = variables.filter_map(|variable| variable.secret_key_ref.as_ref());
    let keys = keys.map(|key| (key.name.as_str(), ENVIRONMENT_LABEL));
    let whole = spec.env_from.iter().flatten();
    let whole = whole.map(|source| (source.secret_ref.name.as_str(), ENVIRONMENT_LABEL));
    let token = spec.git.as_ref().and_then(|git| git.secret_ref.as_ref());
    let token = token.map(|token| (token.name.as_str(), CREDENTIAL_LABEL));
    let mut all: Vec<_> = keys.chain(whole).chain(token).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The Secret with task and prompt. It is a Secret because a prompt may come from one, and a Pod's spec is read by many.
///
/// # Errors
/// If the prompt is larger than a Secret can be.
pub(super) fn secret(spec: &JobSpec, request: &LaunchRequest) -> Result<Manifest, ProviderError> {
    if request.prompt.len() > MAX_PROMPT_BYTES {
        return Err(ProviderError::unsent(
            ErrorClass::InvalidRequest,
            format!("the prompt is larger than the {MAX_PROMPT_BYTES} bytes that a Job is given"),
        ));
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": job_name(&request.key),
            "labels": labels(&request.session),
            "annotations": {SESSION_ANNOTATION: request.session.name},
            "ownerReferences": [session_reference(&request.session.name, &request.session.uid)],
        },
        "immutable": true,
        "stringData": {
            paths::TASK_KEY: task(spec, request).to_json(),
            paths::PROMPT_KEY: request.prompt,
        },
    });
    Ok(Manifest {
        kind: ManifestKind::Secret,
        object,
    })
}

/// The Job of a launch.
pub(super) fn job(spec: &JobSpec, request: &LaunchRequest, cluster: &dyn Cluster) -> Manifest {
    let name = job_name(&request.key);
    let seconds = request.active_deadline_seconds;
    job_of(
        spec,
        &name,
        &request.session,
        seconds,
        cluster.runner_image(),
    )
}

/// A Job like those of launches, to have it checked.
pub(super) fn probe(spec: &JobSpec, cluster: &dyn Cluster) -> Manifest {
    let session = LaunchedFor {
        namespace: cluster.namespace().to_owned(),
        name: "check".to_owned(),
        uid: "check".to_owned(),
    };
    let name = format!("{PREFIX}check");
    job_of(spec, &name, &session, 3600, cluster.runner_image())
}

fn job_of(
    spec: &JobSpec,
    name: &str,
    session: &LaunchedFor,
    active_deadline_seconds: i64,
    runner_image: &str,
) -> Manifest {
    let labels = labels(session);
    let annotations = json!({SESSION_ANNOTATION: session.name});
    let object = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {
            // One try: whatever happens, the agent is never run a second time by itself.
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": active_deadline_seconds,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": pod(spec, name, runner_image),
            },
        },
    });
    Manifest {
        kind: ManifestKind::Job,
        object,
    }
}

/// The Pod's spec. It meets the Pod Security Standard "restricted".
fn pod(spec: &JobSpec, name: &str, runner_image: &str) -> Value {
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": spec.service_account_name.is_some(),
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace(spec),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [{
            "name": RUNNER_CONTAINER,
            "image": runner_image,
            "args": ["install", paths::BIN_DIR],
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"cpu": "500m", "memory": "64Mi"},
            },
            "securityContext": container_security(true),
            "volumeMounts": [{"name": "runner", "mountPath": paths::BIN_DIR}],
        }],
        "containers": [agent_container(spec)],
        "volumes": volumes(spec, name),
    });
    let optional = [
        ("serviceAccountName", json!(spec.service_account_name)),
        ("nodeSelector", json!(spec.node_selector)),
        ("tolerations", json!(spec.tolerations)),
        ("affinity", json!(spec.affinity)),
        ("runtimeClassName", json!(spec.runtime_class_name)),
        ("imagePullSecrets", json!(spec.image_pull_secrets)),
    ];
    add(&mut pod, optional);
    pod
}

fn agent_container(spec: &JobSpec) -> Value {
    let mut mounts = vec![
        json!({"name": "runner", "mountPath": paths::BIN_DIR, "readOnly": true}),
        json!({"name": "task", "mountPath": paths::TASK_DIR, "readOnly": true}),
        json!({"name": "workspace", "mountPath": paths::HOME, "subPath": "home"}),
        json!({"name": "workspace", "mountPath": paths::WORKSPACE, "subPath": "workspace"}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    if git_token(spec).is_some() {
        let folder = paths::GIT_TOKEN.trim_end_matches("/token");
        mounts.push(json!({"name": "git", "mountPath": folder, "readOnly": true}));
    }
    let mut variables = vec![json!({"name": "HOME", "value": paths::HOME})];
    variables.extend(
        spec.env
            .iter()
            .flatten()
            .map(|variable| match &variable.secret_key_ref {
                Some(key) => json!({
                    "name": variable.name,
                    "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}},
                }),
                None => json!({"name": variable.name, "value": variable.value}),
            }),
    );
    let mut container = json!({
        "name": AGENT_CONTAINER,
        "image": spec.image,
        "command": [paths::RUNNER, "run"],
        "workingDir": paths::WORKSPACE,
        "env": variables,
        "securityContext": container_security(false),
        "volumeMounts": mounts,
        "terminationMessagePath": paths::TERMINATION_LOG,
        "terminationMessagePolicy": "File",
    });
    let whole = spec.env_from.as_ref().filter(|sources| !sources.is_empty());
    let whole = whole.map(|sources| {
        let sources = sources.iter();
        let sources = sources.map(|source| json!({"secretRef": {"name": source.secret_ref.name}}));
        sources.collect::<Vec<_>>()
    });
    let optional = [
        ("envFrom", json!(whole)),
        ("resources", json!(spec.resources)),
    ];
    add(&mut container, optional);
    container
}

fn volumes(spec: &JobSpec, name: &str) -> Value {
    let size = spec.workspace.as_ref().and_then(|it| it.size.as_deref());
    let workspace = size.map_or_else(|| json!({}), |size| json!({"sizeLimit": size}));
    let mut volumes = vec![
        json!({"name": "runner", "emptyDir": {}}),
        json!({"name": "task", "secret": {"secretName": name, "defaultMode": 0o440}}),
        json!({"name": "workspace", "emptyDir": workspace}),
        json!({"name": "tmp", "emptyDir": {}}),
    ];
    if let Some(token) = git_token(spec) {
        volumes.push(json!({"name": "git", "secret": {
            "secretName": token.name,
            "defaultMode": 0o440,
            "items": [{"key": token.key, "path": "token"}],
        }}));
    }
    json!(volumes)
}

fn git_token(spec: &JobSpec) -> Option<&crate::api::GitTokenReference> {
    spec.git.as_ref()?.secret_ref.as_ref()
}

fn grace(spec: &JobSpec) -> i64 {
    spec.termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

fn container_security(read_only: bool) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// Adds what is set.
fn add<const N: usize>(object: &mut Value, optional: [(&str, Value); N]) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let set = optional.into_iter().filter(|(_, value)| !value.is_null());
    object.extend(set.map(|(name, value)| (name.to_owned(), value)));
}

fn labels(session: &LaunchedFor) -> Value {
    json!({
        "app.kubernetes.io/managed-by": "codeagent-operator",
        SESSION_UID_LABEL: session.uid,
    })
}

fn task(spec: &JobSpec, request: &LaunchRequest) -> runner::Task {
    let git = spec.git.as_ref();
    let wanted = &request.pull_request;
    let name = &request.session.name;
    let own_branch = || format!("codeagent/{name}-{}", request.key.short());
    runner::Task {
        version: runner::VERSION,
        adapter: match spec.adapter {
            JobAdapter::Claude => runner::Adapter::Claude,
            JobAdapter::Codex => runner::Adapter::Codex,
            JobAdapter::Gemini => runner::Adapter::Gemini,
            JobAdapter::CursorCLI => runner::Adapter::CursorCLI,
            JobAdapter::Process => runner::Adapter::Process,
        },
        command: spec.command.clone().unwrap_or_default(),
        args: spec.args.clone().unwrap_or_default(),
        model: request.model.as_ref().map(|model| model.id.clone()),
        conversation: runner::Conversation {
            id: request.key.as_uuid().to_owned(),
            resume: false,
        },
        repository: (!request.repository.is_empty()).then(|| runner::Repository {
            url: request.repository.clone(),
            reference: request.start.reference().map(str::to_owned),
            branch: wanted.branch_name.clone().unwrap_or_else(own_branch),
            from_pull_request: request
                .start
                .pull_request()
                .map(|url| url.as_str().to_owned()),
        }),
        git: runner::Git {
            host: git.and_then(|git| git.host).map(|host| match host {
                JobGitHost::GitHub => runner::GitHost::GitHub,
                JobGitHost::GitLab => runner::GitHost::GitLab,
                JobGitHost::Gitea => runner::GitHost::Gitea,
                JobGitHost::Other => runner::GitHost::Other,
            }),
            api_url: git.and_then(|git| git.api_url.clone()),
            author: runner::Author {
                name: "codeagent-operator".to_owned(),
                email: "agent@codeagents.dev".to_owned(),
            },
        },
        pull_request: runner::PullRequestTask {
            create: wanted.auto_create && !request.repository.is_empty(),
            ..runner::PullRequestTask::default()
        },
        session: runner::Session {
            namespace: request.session.namespace.clone(),
            name: name.clone(),
            uid: request.session.uid.clone(),
            message: "prompt".to_owned(),
            key: job_name(&request.key),
        },
        limits: runner::Limits {
            grace_period_seconds: u64::try_from((grace(spec) - REPORT_SECONDS).max(1)).unwrap_or(1),
            idle_seconds: None,
        },
    }
}

/// Without `blockOwnerDeletion`, for which the right to change the owner's finalizers may be asked.
fn session_reference(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "CodeSession",
        "name": name,
        "uid": uid,
    })
}

/// The patch that makes the session the owner of its Job; `None` if it is, or the Job does not say whose it is.
pub(super) fn owned_by_session(job: &Job) -> Option<Value> {
    if job
        .metadata
        .owner_references
        .as_ref()
        .is_some_and(|owners| !owners.is_empty())
    {
        return None;
    }
    let uid = label(job, SESSION_UID_LABEL)?;
    let annotations = job.metadata.annotations.as_ref()?;
    let name = annotations.get(SESSION_ANNOTATION)?;
    Some(json!({"metadata": {"ownerReferences": [session_reference(name, uid)]}}))
}

/// The patch that makes session and Job the owners of the Secret.
pub(super) fn owned_by_both(job: &Job, session: &LaunchedFor) -> Option<Value> {
    let of_job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job.metadata.name.as_ref()?,
        "uid": job.metadata.uid.as_ref()?,
    });
    let of_session = session_reference(&session.name, &session.uid);
    Some(json!({"metadata": {"ownerReferences": [of_session, of_job]}}))
}

/// The patch that stops a Job: suspended, its controller deletes the Pod. From now on it belongs to its session.
pub(super) fn stopped(job: &Job, now: Timestamp) -> Value {
    let mut patch = owned_by_session(job).unwrap_or_else(|| json!({"metadata": {}}));
    if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        let mut annotations = Map::new();
        annotations.insert(STOPPED_ANNOTATION.to_owned(), json!(now.to_string()));
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    if let Some(patch) = patch.as_object_mut() {
        patch.insert("spec".to_owned(), json!({"suspend": true}));
    }
    patch
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use async_trait::async_trait;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::api::PullRequestSpec;
    use crate::domain::pull_request::StartingPoint;
    use crate::providers::contract::SendWindow;

    pub(in super::super) fn spec(more: Value) -> JobSpec {
        let mut spec = json!({"adapter": "Claude", "image": "registry.example/agent:1"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    pub(in super::super) fn request() -> LaunchRequest {
        LaunchRequest {
            key: LaunchKey::derive("namespace-uid", "session-uid", 1),
            name: "team/fix".to_owned(),
            prompt: "Fix it".to_owned(),
            images: Vec::new(),
            environment: Default::default(),
            repository: "https://github.com/acme/app".to_owned(),
            start: StartingPoint::Reference("main".to_owned()),
            model: None,
            pull_request: PullRequestSpec::default(),
            on_behalf_of: None,
            issue: None,
            template_id: None,
            session: LaunchedFor {
                namespace: "team".to_owned(),
                name: "fix".to_owned(),
                uid: "session-uid".to_owned(),
            },
            active_deadline_seconds: 600,
            webhook: None,
            window: SendWindow {
                not_after: Timestamp::MAX,
                opened: Instant::now(),
                length: Duration::from_secs(3600),
            },
        }
    }

    #[derive(Debug)]
    struct Nowhere;

    #[async_trait]
    impl Cluster for Nowhere {
        fn namespace(&self) -> &str {
            "team"
        }

        fn runner_image(&self) -> &str {
            "registry.example/runner:1"
        }

        async fn create(&self, _: &Manifest, _: bool) -> Result<(), ProviderError> {
            Ok(())
        }

        async fn patch(&self, _: ManifestKind, _: &str, _: &Value) -> Result<(), ProviderError> {
            Ok(())
        }

        async fn delete(&self, _: ManifestKind, _: &str) -> Result<(), ProviderError> {
            Ok(())
        }

        async fn job(&self, _: &str) -> Result<Option<Job>, ProviderError> {
            Ok(None)
        }

        async fn pods(&self, _: &str) -> Result<Vec<Pod>, ProviderError> {
            Ok(Vec::new())
        }

        async fn secret_labels(
            &self,
            _: &str,
        ) -> Result<Option<BTreeMap<String, String>>, ProviderError> {
            Ok(None)
        }
    }

    #[test]
    fn a_job_is_tried_once_and_holds_what_was_asked_for() {
        let full = json!({
            "env": [
                {"name": "PLAIN", "value": "1"},
                {"name": "KEY", "secretKeyRef": {"name": "model", "key": "key"}},
            ],
            "envFrom": [{"secretRef": {"name": "more"}}],
            "resources": {"limits": {"cpu": 2}},
            "serviceAccountName": "builder",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "agents", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "runtimeClassName": "gvisor",
            "imagePullSecrets": [{"name": "registry"}],
            "workspace": {"size": "10Gi"},
            "terminationGracePeriodSeconds": 90,
            "git": {"secretRef": {"name": "git", "key": "pat"}},
        });
        let job = job(&spec(full), &request(), &Nowhere).object;
        let name = job_name(&request().key);
        assert_eq!(job["metadata"]["name"], json!(name));
        assert!(name.len() <= 63 && name.starts_with("codeagent-"));
        assert_eq!(job["metadata"]["ownerReferences"], Value::Null);
        let spec = &job["spec"];
        assert_eq!(spec["backoffLimit"], 0);
        assert_eq!(spec["podReplacementPolicy"], "Failed");
        assert_eq!(spec["activeDeadlineSeconds"], 600);
        assert_eq!(spec["ttlSecondsAfterFinished"], Value::Null);
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(pod["automountServiceAccountToken"], true);
        assert_eq!(pod["serviceAccountName"], "builder");
        assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}));
        assert_eq!(pod["runtimeClassName"], "gvisor");
        assert_eq!(pod["terminationGracePeriodSeconds"], 90);
        assert_eq!(
            pod["initContainers"][0]["image"],
            "registry.example/runner:1"
        );
        let agent = &pod["containers"][0];
        assert_eq!(
            agent["command"],
            json!(["/codeagent/bin/codeagent-runner", "run"])
        );
        assert_eq!(
            agent["env"],
            json!([
                {"name": "HOME", "value": "/home/agent"},
                {"name": "PLAIN", "value": "1"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "model", "key": "key"}}},
            ])
        );
        assert_eq!(agent["envFrom"], json!([{"secretRef": {"name": "more"}}]));
        assert_eq!(
            agent["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": false,
                "capabilities": {"drop": ["ALL"]},
            })
        );
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = |name: &str| volumes.iter().find(|it| it["name"] == name).unwrap();
        assert_eq!(
            volume("workspace")["emptyDir"],
            json!({"sizeLimit": "10Gi"})
        );
        assert_eq!(volume("task")["secret"]["secretName"], json!(name));
        assert_eq!(volume("git")["secret"]["items"][0]["key"], "pat");
        // It is what the API server's own types read.
        let read: Job = serde_json::from_value(job.clone()).unwrap();
        assert!(is_of(&read, "session-uid"));
        assert!(!is_of(&read, "another"));
    }

    #[test]
    fn by_default_there_is_neither_a_token_nor_anything_that_was_not_asked_for() {
        let job = job(&spec(json!({})), &request(), &Nowhere).object;
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        for absent in ["serviceAccountName", "affinity", "tolerations"] {
            assert_eq!(pod[absent], Value::Null, "{absent}");
        }
        assert_eq!(pod["volumes"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn the_runner_reads_the_task_that_it_is_given() {
        let process = json!({"adapter": "Process", "command": ["agent.sh"]});
        for spec in [spec(json!({})), spec(process)] {
            let secret = secret(&spec, &request()).unwrap().object;
            let task = secret["stringData"]["task.json"].as_str().unwrap();
            let task = runner::Task::parse(task).unwrap();
            let repository = task.repository.unwrap();
            assert_eq!(repository.reference.as_deref(), Some("main"));
            let short = request().key.short().to_owned();
            assert_eq!(repository.branch, format!("codeagent/fix-{short}"));
            assert!(task.pull_request.create);
            assert_eq!(task.limits.grace_period_seconds, 25);
            assert_eq!(secret["stringData"]["prompt"], "Fix it");
        }
    }

    #[test]
    fn a_prompt_that_no_secret_can_hold_is_refused() {
        let request = LaunchRequest {
            prompt: "a".repeat(MAX_PROMPT_BYTES + 1),
            ..request()
        };
        let refused = secret(&spec(json!({})), &request).unwrap_err();
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
    }

    #[test]
    fn every_secret_that_goes_into_the_pod_needs_consent() {
        let spec = spec(json!({
            "env": [{"name": "A", "secretKeyRef": {"name": "one", "key": "k"}}],
            "envFrom": [{"secretRef": {"name": "one"}}, {"secretRef": {"name": "two"}}],
            "git": {"secretRef": {"name": "git", "key": "token"}},
        }));
        assert_eq!(
            secrets(&spec),
            [
                ("git", CREDENTIAL_LABEL),
                ("one", ENVIRONMENT_LABEL),
                ("two", ENVIRONMENT_LABEL)
            ]
        );
    }

    #[test]
    fn a_job_is_given_to_its_session_once_and_a_stop_suspends_it() {
        let created = job(&spec(json!({})), &request(), &Nowhere).object;
        let mut job: Job = serde_json::from_value(created).unwrap();
        let patch = stopped(&job, Timestamp::UNIX_EPOCH);
        assert_eq!(patch["spec"]["suspend"], true);
        assert_eq!(
            patch["metadata"]["annotations"][STOPPED_ANNOTATION],
            "1970-01-01T00:00:00Z"
        );
        let owners = patch["metadata"]["ownerReferences"].clone();
        assert_eq!(owners[0]["uid"], "session-uid");
        assert_eq!(owners[0]["blockOwnerDeletion"], Value::Null);
        job.metadata.owner_references = serde_json::from_value(owners).unwrap();
        assert_eq!(owned_by_session(&job), None);
        assert_eq!(
            stopped(&job, Timestamp::UNIX_EPOCH)["metadata"]["ownerReferences"],
            Value::Null
        );
    }
}
