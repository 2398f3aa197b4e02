//! The adapter against a namespace in memory that loses answers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::manifest::tests::{request, spec};
use super::*;
use crate::domain::ids::{InstallationId, LaunchKey};
use crate::providers::contract::Manifest;

/// What happens to the creation of a Job.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Create {
    Answered,
    /// It takes effect and nobody hears of it.
    Lost,
    /// It is answered with this status and takes no effect.
    Refused(u16),
}

#[derive(Debug)]
struct Memory {
    create: Create,
    objects: Mutex<BTreeMap<String, Value>>,
    jobs_created: Mutex<usize>,
    secrets: BTreeMap<String, BTreeMap<String, String>>,
}

impl Memory {
    fn new(create: Create) -> Arc<Self> {
        Arc::new(Self {
            create,
            objects: Mutex::default(),
            jobs_created: Mutex::default(),
            secrets: BTreeMap::new(),
        })
    }

    fn holds(self: &Arc<Self>, name: &str, object: Value) {
        self.objects.lock().unwrap().insert(name.to_owned(), object);
    }

    fn created(&self) -> usize {
        *self.jobs_created.lock().unwrap()
    }
}

fn at(kind: ManifestKind, name: &str) -> String {
    format!("{}/{name}", kind.as_str())
}

fn answered(status: Option<u16>, code: &str) -> ProviderError {
    ProviderError {
        status,
        code: Some(code.to_owned()),
        sent: Sent::Possibly,
        ..ProviderError::unsent(ErrorClass::Unavailable, "words")
    }
}

#[async_trait]
impl Cluster for Memory {
    fn namespace(&self) -> &str {
        "team"
    }

    fn runner_image(&self) -> &str {
        "runner:1"
    }

    async fn create(&self, manifest: &Manifest, dry_run: bool) -> Result<(), ProviderError> {
        let name = manifest.object["metadata"]["name"].as_str().unwrap();
        let place = at(manifest.kind, name);
        if dry_run {
            return Ok(());
        }
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(&place) {
            return Err(answered(Some(409), ALREADY_EXISTS));
        }
        if manifest.kind == ManifestKind::Job {
            if let Create::Refused(status) = self.create {
                return Err(answered(Some(status), "Refused"));
            }
            *self.jobs_created.lock().unwrap() += 1;
        }
        objects.insert(place, manifest.object.clone());
        match (manifest.kind, self.create) {
            (ManifestKind::Job, Create::Lost) => Err(answered(None, "")),
            _ => Ok(()),
        }
    }

    async fn patch(
        &self,
        kind: ManifestKind,
        name: &str,
        patch: &Value,
    ) -> Result<(), ProviderError> {
        let mut objects = self.objects.lock().unwrap();
        let object = objects.get_mut(&at(kind, name)).unwrap();
        json_patch::merge(object, patch);
        Ok(())
    }

    async fn delete(&self, kind: ManifestKind, name: &str) -> Result<(), ProviderError> {
        self.objects.lock().unwrap().remove(&at(kind, name));
        Ok(())
    }

    async fn job(&self, name: &str) -> Result<Option<Job>, ProviderError> {
        let objects = self.objects.lock().unwrap();
        let job = objects.get(&at(ManifestKind::Job, name));
        Ok(job.map(|job| serde_json::from_value(job.clone()).unwrap()))
    }

    async fn pods(&self, _: &str) -> Result<Vec<Pod>, ProviderError> {
        Ok(Vec::new())
    }

    async fn secret_labels(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, ProviderError> {
        let objects = self.objects.lock().unwrap();
        if let Some(secret) = objects.get(&at(ManifestKind::Secret, name)) {
            let labels = secret["metadata"]["labels"].clone();
            return Ok(Some(serde_json::from_value(labels).unwrap()));
        }
        Ok(self.secrets.get(name).cloned())
    }
}

fn agent(cluster: &Arc<Memory>) -> JobAgent {
    JobAgent {
        spec: spec(json!({})),
        cluster: Arc::clone(cluster) as Arc<dyn Cluster>,
    }
}

fn lookup(key: &LaunchKey) -> AdoptRequest {
    AdoptRequest {
        message: None,
        keys: vec![key.clone()],
        installation: InstallationId::new("0a1b2c3d"),
        uid: "session-uid".to_owned(),
        repository: String::new(),
        recovery: Recovery::ClientId,
        template_id: None,
        baseline: None,
        sent: None,
        created_from: Timestamp::MIN,
        created_until: Timestamp::MAX,
        prove_absence: true,
        owned: Default::default(),
        evidence_seen: false,
        resume: None,
    }
}

/// A launch whose answer is lost is unknown, is found by its name, and comes to no second Job however often it is sent again.
#[tokio::test]
async fn a_launch_whose_answer_is_lost_is_found_by_its_name_and_never_run_twice() {
    let cluster = Memory::new(Create::Lost);
    let agent = agent(&cluster);
    let outcome = agent.launch(&request()).await;
    assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
    let key = request().key;
    let AdoptAnswer::Found(found) = agent.adopt(&lookup(&key)).await.unwrap() else {
        panic!("not found");
    };
    assert_eq!(found[0].snapshot.session_id.as_str(), job_name(&key));
    let again = agent.launch(&request()).await;
    assert!(matches!(again, LaunchOutcome::Accepted(_)), "{again:?}");
    assert_eq!(cluster.created(), 1);
}

#[tokio::test]
async fn without_a_job_of_the_name_nothing_was_created() {
    let cluster = Memory::new(Create::Answered);
    let answer = agent(&cluster).adopt(&lookup(&request().key)).await;
    assert_eq!(answer.unwrap(), AdoptAnswer::Absent);
}

/// A Job or a Secret of the name that is somebody else's is neither taken over nor touched.
#[tokio::test]
async fn what_is_somebody_elses_is_left_alone() {
    for kind in [ManifestKind::Job, ManifestKind::Secret] {
        let cluster = Memory::new(Create::Answered);
        let name = job_name(&request().key);
        let foreign = json!({"metadata": {"name": name, "labels": {}}});
        cluster.holds(&at(kind, &name), foreign.clone());
        let agent = agent(&cluster);
        let LaunchOutcome::Rejected(error) = agent.launch(&request()).await else {
            panic!("{kind:?}: not refused");
        };
        assert_eq!(error.subject, Some(Subject::SessionId));
        assert_eq!(cluster.objects.lock().unwrap()[&at(kind, &name)], foreign);
        assert_eq!(cluster.created(), 0);
        if kind == ManifestKind::Job {
            let answer = agent.adopt(&lookup(&request().key)).await.unwrap();
            assert!(matches!(answer, AdoptAnswer::Foreign { .. }), "{answer:?}");
        }
    }
}

/// Rule 1 of the launch protocol: only what proves that nothing was created is a refusal.
#[tokio::test]
async fn only_an_answer_that_proves_it_is_a_refusal() {
    for (status, refused) in [
        (400, true),
        (403, true),
        (404, true),
        (422, true),
        (429, true),
        (409, false),
        (500, false),
        (504, false),
    ] {
        let cluster = Memory::new(Create::Refused(status));
        let outcome = agent(&cluster).launch(&request()).await;
        assert_eq!(
            matches!(outcome, LaunchOutcome::Rejected(_)),
            refused,
            "{status}: {outcome:?}"
        );
    }
}

/// A prompt that was changed after a refused launch is the one that the next launch gives its Pod.
#[tokio::test]
async fn a_secret_of_an_earlier_try_gives_way() {
    let cluster = Memory::new(Create::Answered);
    let name = job_name(&request().key);
    let labels = json!({"codeagents.dev/session-uid": "session-uid"});
    let old =
        json!({"metadata": {"name": name, "labels": labels}, "stringData": {"prompt": "old"}});
    let secret = at(ManifestKind::Secret, &name);
    cluster.holds(&secret, old);
    let outcome = agent(&cluster).launch(&request()).await;
    assert!(matches!(outcome, LaunchOutcome::Accepted(_)), "{outcome:?}");
    let stored = cluster.objects.lock().unwrap()[&secret].clone();
    assert_eq!(stored["stringData"]["prompt"], "Fix it");
    // Bound to both: it goes when session and Job are gone.
    let owners = stored["metadata"]["ownerReferences"].as_array().unwrap();
    assert!(owners.len() <= 2 && owners[0]["kind"] == "CodeSession");
}

#[tokio::test]
async fn after_the_window_nothing_is_created() {
    let cluster = Memory::new(Create::Answered);
    let mut late = request();
    late.window.not_after = Timestamp::UNIX_EPOCH;
    let outcome = agent(&cluster).launch(&late).await;
    assert!(matches!(outcome, LaunchOutcome::Rejected(_)), "{outcome:?}");
    assert!(cluster.objects.lock().unwrap().is_empty());
}

/// A stop of what is gone or over is none; archiving what is gone is done.
#[tokio::test]
async fn what_is_gone_is_neither_stopped_nor_in_the_way() {
    let cluster = Memory::new(Create::Answered);
    let agent = agent(&cluster);
    let name = job_name(&request().key);
    let session = SessionRef {
        session_id: SessionId::new(name.clone()),
        run_id: None,
    };
    let missing = agent.get(&session).await.unwrap_err();
    assert_eq!(missing.class, ErrorClass::NotFound);
    let answer = agent.cancel(&session).await.unwrap();
    assert!(matches!(answer, CancelAnswer::NotCancellable(_)));
    agent.archive(&session.session_id).await.unwrap();
    agent.launch(&request()).await;
    let busy = agent.archive(&session.session_id).await.unwrap_err();
    assert_eq!(busy.class, ErrorClass::Conflict);
    assert_eq!(agent.cancel(&session).await, Ok(CancelAnswer::Accepted));
    let job = cluster.objects.lock().unwrap()[&at(ManifestKind::Job, &name)].clone();
    assert_eq!(job["spec"]["suspend"], true);
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CodeSession");
}
