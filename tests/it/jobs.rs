//! Agents that run as Jobs: the operator, the real API server and Job controller, and a stand-in for scheduler and kubelet.

use codeagent_operator::api::{CodeSession, SessionPhase};
use codeagent_operator::domain::ids::LaunchKey;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::kubelet::Kubelet;
use crate::support::operator::{Arguments, Operator};
use crate::support::world::{PATIENCE, World, agent_condition, condition_of, pretty, session_id};

/// A world that takes Pods of the restricted profile alone, with the Secrets of a job agent and the agent itself.
async fn world() -> (World, Kubelet) {
    let world = World::new().await;
    let namespaces: Api<Namespace> = Api::all(world.admin.client().unwrap());
    let label =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces
        .patch(world.name(), &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    world.permit_jobs().await;
    secret(&world, "model-key", "codeagents.dev/environment").await;
    secret(&world, "git-token", "codeagents.dev/credential").await;
    agent(&world, json!({})).await;
    let kubelet = Kubelet::of(&world);
    (world, kubelet)
}

async fn secret(world: &World, name: &str, label: &str) {
    world
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "labels": {label: "true"}},
            "stringData": {"token": "t0ken", "ANTHROPIC_API_KEY": "model-canary"},
        }))
        .await;
}

async fn agent(world: &World, more: Value) {
    let mut job = json!({
        "adapter": "Claude",
        "image": "agent:1",
        "envFrom": [{"secretRef": {"name": "model-key"}}],
        "resources": {"limits": {"memory": "1Gi"}},
        "git": {"secretRef": {"name": "git-token"}},
    });
    job.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    world
        .apply(json!({
            "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeAgent",
            "metadata": {"name": "job"},
            "spec": {
                "provider": {"job": job},
                "repository": {"url": "https://github.com/acme/app", "ref": "main"},
            },
        }))
        .await;
}

async fn session(world: &World, name: &str, more: Value) -> CodeSession {
    let mut spec = json!({"agentRef": {"name": "job"}, "prompt": "Fix it"});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let session = json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
        "metadata": {"name": name}, "spec": spec,
    });
    let session: CodeSession = serde_json::from_value(session).unwrap();
    world
        .sessions()
        .create(&PostParams::default(), &session)
        .await
        .unwrap()
}

fn arguments() -> Arguments {
    Arguments::impatient().flag("--jobs")
}

async fn operator(world: &World) -> Operator {
    world.operator_with(arguments()).await
}

/// The name of the session's Job as soon as it is recorded.
async fn launched(world: &World, name: &str) -> String {
    let launched = world
        .until(name, "launched", |session| {
            let status = session.status.as_ref();
            let provider = status.and_then(|status| status.provider.as_ref());
            provider.is_some_and(|provider| provider.session_id.is_some())
        })
        .await;
    session_id(&launched)
}

async fn jobs(kubelet: &Kubelet) -> Vec<Job> {
    kubelet.jobs.list(&Default::default()).await.unwrap().items
}

/// What `kubectl get` shows of the end.
fn said(session: &CodeSession) -> String {
    condition_of(session, "Succeeded").unwrap().message.clone()
}

const REPORT: &str = r#"{"version":1,"outcome":"Finished","reason":"Completed","message":"The agent finished.","result":"All done.","branch":"codeagent/one","commit":"0123456789abcdef0123456789abcdef01234567","pushed":true,"pullRequest":{"url":"https://github.com/acme/app/pull/7","number":7},"usage":{"inputTokens":1000,"outputTokens":100,"totalTokens":1100},"costUsd":"0.012"}"#;

/// From apply to the report: the Pod is of the restricted profile, gets what it needs and no more, and belongs to the session in the end.
#[tokio::test]
async fn a_session_is_one_job_and_ends_with_its_report() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    session(&world, "one", json!({"activeDeadlineSeconds": 600})).await;
    let name = launched(&world, "one").await;
    let pod = kubelet.pod_of(&name).await;
    let spec = pod.spec.clone().unwrap();
    assert_eq!(spec.automount_service_account_token, Some(false));
    assert_eq!(spec.containers[0].image.as_deref(), Some("agent:1"));
    let secrets: Api<Secret> = world.namespace.api();
    let secret = secrets.get(&name).await.unwrap();
    let data = secret.data.clone().unwrap();
    let prompt = String::from_utf8(data["prompt"].0.clone()).unwrap();
    assert!(prompt.starts_with("Fix it"), "{prompt}");
    let task: Value = serde_json::from_slice(&data["task.json"].0).unwrap();
    assert_eq!(task["repository"]["url"], "https://github.com/acme/app");
    assert_eq!(task["pullRequest"]["create"], true);
    let job = kubelet.job(&name).await;
    assert_eq!(job.spec.clone().unwrap().active_deadline_seconds, Some(600));
    assert_eq!(job.owner_references(), &[], "{}", pretty(&job));

    kubelet.runs(&name).await;
    world.until_phase("one", SessionPhase::Running).await;
    kubelet.ends(&name, 0, "Completed", REPORT, json!({})).await;
    let done = world.until_settled("one").await;
    let status = done.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Finished, "{}", pretty(&done));
    let pull_request = status.pull_request.unwrap();
    assert_eq!(
        pull_request.url.as_deref(),
        Some("https://github.com/acme/app/pull/7")
    );
    assert_eq!(status.messages[0].result.as_deref(), Some("All done."));
    let target = status.launch.unwrap().target;
    assert_eq!(target.endpoint, format!("kubernetes://{}", world.name()));
    assert_eq!(target.secret_ref, "");
    assert_eq!(jobs(&kubelet).await.len(), 1);
    let owners = kubelet.job(&name).await.owner_references().to_vec();
    assert_eq!(owners[0].uid, done.uid().unwrap());
    assert!(!pretty(&done).contains("model-canary"));
}

/// Every way to end has its own reason.
#[tokio::test]
async fn each_end_of_a_pod_has_its_own_reason() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    let failed = r#"{"version":1,"outcome":"Failed","reason":"PushFailed","message":"The branch could not be pushed.","pushed":false}"#;
    let evicted = json!({"reason": "Evicted", "message": "The node was low on resource: memory."});
    let drained = json!({"conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint",
    }]});
    let cases = [
        ("oom", 137, "OOMKilled", "", json!({}), "OOMKilled"),
        ("evicted", 137, "Error", "", evicted, "Evicted"),
        (
            "drained",
            143,
            "Error",
            "",
            drained,
            "DeletionByTaintManager",
        ),
        ("silent", 28, "Error", "", json!({}), "NoSuccessLine"),
        (
            "failed",
            30,
            "Error",
            failed,
            json!({}),
            "PushFailed: The branch could not be pushed.",
        ),
        ("killed", 137, "Error", "", json!({}), "exit code 137"),
        (
            "broken",
            128,
            "StartError",
            "exec: no such file",
            json!({}),
            "StartError",
        ),
    ];
    for (name, ..) in &cases {
        session(&world, name, json!({})).await;
    }
    for (name, code, reason, message, more, _) in &cases {
        let job = launched(&world, name).await;
        kubelet
            .ends(&job, *code, reason, message, more.clone())
            .await;
    }
    for (name, .., expected) in &cases {
        let ended = world.until_settled(name).await;
        let status = ended.status.clone().unwrap();
        assert_eq!(status.phase, SessionPhase::Error, "{}", pretty(&ended));
        assert!(said(&ended).contains(expected), "{name}: {}", said(&ended));
    }
    assert_eq!(jobs(&kubelet).await.len(), cases.len());
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_said_and_does_not_end_the_session() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    session(&world, "one", json!({})).await;
    let job = launched(&world, "one").await;
    kubelet
        .waits(
            &job,
            "ImagePullBackOff",
            "Back-off pulling image \"agent:1\"",
        )
        .await;
    let blocked = world
        .until_reason("one", "Blocked", "WaitingForPerson")
        .await;
    let blocked = condition_of(&blocked, "Blocked").unwrap().message.clone();
    assert!(blocked.contains("agent:1"), "{blocked}");
    kubelet.runs(&job).await;
    world.until_reason("one", "Blocked", "NotBlocked").await;
}

#[tokio::test]
async fn a_stop_is_confirmed_by_the_end_of_the_pod() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    session(&world, "one", json!({})).await;
    let name = launched(&world, "one").await;
    // Held: its end is the test's to say.
    let pod = kubelet.pod_of(&name).await;
    kubelet.hold(&pod).await;
    kubelet.runs(&name).await;
    world.until_phase("one", SessionPhase::Running).await;
    world
        .change_session("one", json!({"desiredState": "Cancelled"}))
        .await;
    let stopping = world
        .until("one", "the stop is taken", |session| {
            let cancel = session.status.as_ref().and_then(|it| it.cancel.as_ref());
            cancel.is_some_and(|cancel| cancel.accepted_at.is_some())
        })
        .await;
    assert!(!stopping.status.unwrap().phase.is_terminal());
    kubelet.until_deleted(&pod).await;
    let now = world.sessions().get("one").await.unwrap();
    assert!(!now.status.unwrap().phase.is_terminal());
    kubelet.let_go(&pod).await;
    let ended = world.until_settled("one").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Cancelled, "{}", pretty(&ended));
    let job = kubelet.job(&name).await;
    assert_eq!(job.spec.unwrap().suspend, Some(true));
}

/// The Job that a person deletes is lost, and is not run again.
#[tokio::test]
async fn a_job_that_a_person_deletes_is_lost_and_never_run_again() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    session(&world, "one", json!({})).await;
    let name = launched(&world, "one").await;
    kubelet.runs(&name).await;
    world.until_phase("one", SessionPhase::Running).await;
    kubelet.delete(&name).await;
    let ended = world.until_settled("one").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Error);
    let succeeded = condition_of(&ended, "Succeeded").unwrap();
    assert_eq!(succeeded.reason, "SessionLost", "{}", pretty(&ended));
    assert_eq!(jobs(&kubelet).await.len(), 0);
}

#[tokio::test]
async fn deleting_a_session_stops_its_job_and_takes_it_along() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    session(&world, "one", json!({})).await;
    let name = launched(&world, "one").await;
    kubelet.runs(&name).await;
    world.until_phase("one", SessionPhase::Running).await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let secrets: Api<Secret> = world.namespace.api();
    until_none("the Job", || kubelet.jobs.get_opt(&name)).await;
    until_none("its Secret", || secrets.get_opt(&name)).await;
}

#[tokio::test]
async fn an_orphaned_job_survives_its_session() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    session(&world, "one", json!({"deletionPolicy": "Orphan"})).await;
    let name = launched(&world, "one").await;
    let secrets: Api<Secret> = world.namespace.api();
    // The Secret is bound to the Job right after its creation.
    let deadline = std::time::Instant::now() + PATIENCE;
    while secrets.get(&name).await.unwrap().owner_references().len() < 2 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    kubelet.runs(&name).await;
    world.until_phase("one", SessionPhase::Running).await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let job = kubelet.job(&name).await;
    assert_eq!(job.owner_references(), &[]);
    assert_ne!(job.spec.clone().unwrap().suspend, Some(true));
    // Another object whose owner is gone, which the collector has to come to after the Job and its Secret.
    collected(&world, job.uid().as_deref().unwrap_or_default()).await;
    assert!(secrets.get_opt(&name).await.unwrap().is_some());
    assert!(kubelet.jobs.get_opt(&name).await.unwrap().is_some());
}

/// A Job of our name that was created and is recorded nowhere is taken over; one of somebody else is left alone and never run beside.
#[tokio::test]
async fn a_job_of_our_name_is_taken_over_if_it_is_ours_and_left_alone_if_not() {
    let (world, kubelet) = world().await;
    let namespaces: Api<Namespace> = Api::all(world.admin.client().unwrap());
    let namespace = namespaces.get(world.name()).await.unwrap().uid().unwrap();
    for (name, ours) in [("ours", true), ("theirs", false)] {
        let uid = session(&world, name, json!({})).await.uid().unwrap();
        let key = LaunchKey::derive(&namespace, &uid, 1);
        let label = if ours { uid } else { "somebody".to_owned() };
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": format!("codeagent-{key}"), "labels": {"codeagents.dev/session-uid": label}},
            "spec": {"suspend": true, "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "agent", "image": "agent:1"}],
            }}},
        });
        let job: Job = serde_json::from_value(job).unwrap();
        kubelet
            .jobs
            .create(&PostParams::default(), &job)
            .await
            .unwrap();
    }
    let _operator = operator(&world).await;
    launched(&world, "ours").await;
    let conflict = world
        .until("theirs", "the conflict is said", |session| {
            let stalled = condition_of(session, "Stalled");
            stalled.is_some_and(|it| it.reason == "AgentIdConflict")
                || session
                    .status
                    .as_ref()
                    .is_some_and(|it| it.phase.is_terminal())
        })
        .await;
    assert!(
        pretty(&conflict).contains("not of this session"),
        "{}",
        pretty(&conflict)
    );
    let provider = conflict.status.unwrap().provider;
    assert_eq!(provider.and_then(|provider| provider.session_id), None);
    assert_eq!(jobs(&kubelet).await.len(), 2);
}

#[tokio::test]
async fn an_operator_that_crashes_in_the_middle_follows_the_same_job() {
    let (world, kubelet) = world().await;
    let first = operator(&world).await;
    session(&world, "one", json!({})).await;
    let name = launched(&world, "one").await;
    kubelet.runs(&name).await;
    world.until_phase("one", SessionPhase::Running).await;
    first.crash().await;
    kubelet.ends(&name, 0, "Completed", REPORT, json!({})).await;
    let _second = operator(&world).await;
    let done = world.until_settled("one").await;
    assert_eq!(done.status.unwrap().phase, SessionPhase::Finished);
    assert_eq!(jobs(&kubelet).await.len(), 1);
}

/// A quota of the namespace holds launches back; when it is raised they go on by themselves.
#[tokio::test]
async fn a_quota_holds_launches_back_until_it_is_raised() {
    let (world, kubelet) = world().await;
    let quota = |most: &str| {
        json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "jobs"}, "spec": {"hard": {"count/jobs.batch": most}},
        })
    };
    world.apply(quota("0")).await;
    let quotas: Api<k8s_openapi::api::core::v1::ResourceQuota> = world.namespace.api();
    let deadline = std::time::Instant::now() + PATIENCE;
    while quotas
        .get("jobs")
        .await
        .unwrap()
        .status
        .unwrap_or_default()
        .hard
        .is_none()
    {
        assert!(
            std::time::Instant::now() < deadline,
            "the quota has no effect"
        );
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    let _operator = operator(&world).await;
    session(&world, "one", json!({})).await;
    let held = world
        .until("one", "held back", |session| {
            pretty(session).contains("exceeded quota")
        })
        .await;
    assert!(!held.status.unwrap().phase.is_terminal());
    world.apply(quota("5")).await;
    launched(&world, "one").await;
    assert_eq!(jobs(&kubelet).await.len(), 1);
}

/// Secrets go into a Pod only with their owner's consent, and what the API server does not take of the Pod is said of the CodeAgent.
#[tokio::test]
async fn what_cannot_run_is_said_of_the_agent() {
    let (world, kubelet) = world().await;
    let _operator = operator(&world).await;
    secret(&world, "private", "example.com/private").await;
    for (more, expected) in [
        (
            json!({"envFrom": [{"secretRef": {"name": "private"}}]}),
            "codeagents.dev/environment=true",
        ),
        (
            json!({"envFrom": [{"secretRef": {"name": "absent"}}]}),
            "there is no Secret absent",
        ),
        (json!({"affinity": {"nodeAfinity": {}}}), "nodeAfinity"),
        (
            json!({"resources": {"limits": {"memory": "much"}}}),
            "quantit",
        ),
    ] {
        agent(&world, more.clone()).await;
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let agent = world.agents().get("job").await.unwrap();
            let ready = agent_condition(&agent, "Ready");
            if ready
                .is_some_and(|it| it.reason == "SettingsRefused" && it.message.contains(expected))
            {
                break;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{more}: {}",
                pretty(&agent)
            );
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        }
    }
    assert_eq!(jobs(&kubelet).await.len(), 0);
}

/// Without --jobs nothing runs, and the CodeAgent says so. Follow-up messages are refused before anything is created.
#[tokio::test]
async fn what_is_not_offered_is_refused_before_anything_is_created() {
    let (world, kubelet) = world().await;
    let without = world.operator_with(Arguments::impatient()).await;
    session(&world, "early", json!({})).await;
    world
        .until("early", "the provider is disabled", |session| {
            pretty(session).contains("ProviderDisabled")
        })
        .await;
    without.stop().await;
    world.delete_session("early").await;
    let _operator = operator(&world).await;
    world.until_gone("early").await;
    let more = json!({"messages": [{"name": "more", "prompt": "And this"}]});
    session(&world, "two", more).await;
    let refused = world
        .until_reason("two", "Stalled", "CapabilityMissing")
        .await;
    assert!(pretty(&refused).contains("cannot take further messages"));
    assert_eq!(jobs(&kubelet).await.len(), 0);
}

/// Waits until there is none any more.
async fn until_none<T, F>(what: &str, get: impl Fn() -> F)
where
    F: Future<Output = Result<Option<T>, kube::Error>>,
{
    let deadline = std::time::Instant::now() + PATIENCE;
    while get().await.unwrap().is_some() {
        assert!(
            std::time::Instant::now() < deadline,
            "{what} is still there"
        );
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
}

/// Waits until the garbage collector has deleted an object whose owner never was.
async fn collected(world: &World, alive: &str) {
    world
        .apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "stray", "ownerReferences": [{
                "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
                "name": "never", "uid": alive,
            }]},
        }))
        .await;
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = world.namespace.api();
    until_none("the stray ConfigMap", || maps.get_opt("stray")).await;
}
