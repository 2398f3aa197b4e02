//! The control plane that these tests share, with the CRDs installed as users install them.

use std::time::{Duration, Instant};

use codeagent_harness::{ControlPlane, Namespace, shared};
use codeagent_operator::api::crds;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// The control plane, with the CRDs. Warnings of the API server are errors.
pub async fn cluster() -> &'static ControlPlane {
    // An error says that another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let control_plane = shared().await;
    INSTALLED
        .get_or_init(|| async {
            let definitions: String = crds::all()
                .iter()
                .map(|crd| format!("---\n{}", crds::to_yaml(crd).unwrap()))
                .collect();
            let apply = ["apply", "--server-side", "--warnings-as-errors", "-f", "-"];
            let output = control_plane
                .admin()
                .kubectl_with_input(&apply, &definitions)
                .await
                .unwrap();
            println!("{}{}", output.stdout, output.stderr);
            assert!(output.success() && !output.stderr.contains("Warning"));
            let names: Vec<String> = crds::all()
                .iter()
                .map(|crd| format!("crd/{}", crd.metadata.name.clone().unwrap()))
                .collect();
            let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
            wait.extend(names.iter().map(String::as_str));
            let output = control_plane.admin().kubectl(&wait).await.unwrap();
            assert!(output.success(), "{}", output.stderr);
            // Discovery, from which kubectl knows the short names, follows a moment after.
            for crd in crds::all() {
                let name = crd.spec.names.short_names.unwrap()[0].clone();
                until_discovered(control_plane, &name).await;
            }
        })
        .await;
    control_plane
}

async fn until_discovered(control_plane: &ControlPlane, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let explain = ["explain", name];
    loop {
        let output = control_plane.admin().kubectl(&explain).await.unwrap();
        if output.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: {}", output.stderr);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A namespace of a test's own.
pub async fn namespace(prefix: &str) -> Namespace {
    cluster().await.namespace(prefix).await.unwrap()
}

/// YAML as a value; a mistake in it is the test's.
#[track_caller]
pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The kinds of this project, without their types: what the API server thinks of a manifest is asked, not what serde does.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Agent,
    Session,
}

impl Kind {
    fn resource(self) -> ApiResource {
        match self {
            Self::Agent => ApiResource::erase::<codeagent_operator::api::CodeAgent>(&()),
            Self::Session => ApiResource::erase::<codeagent_operator::api::CodeSession>(&()),
        }
    }

    pub fn api(self, namespace: &Namespace) -> Api<DynamicObject> {
        Api::namespaced_with(namespace.client(), namespace.name(), &self.resource())
    }

    fn object(self, name: &str, spec: &Value) -> DynamicObject {
        let resource = self.resource();
        serde_json::from_value(json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "spec": spec,
        }))
        .unwrap()
    }
}

/// Creates an object; answers with what was stored or with the API server's words.
pub async fn create(
    namespace: &Namespace,
    kind: Kind,
    name: &str,
    spec: &Value,
) -> Result<Value, String> {
    let created = kind
        .api(namespace)
        .create(&PostParams::default(), &kind.object(name, spec))
        .await;
    answer(created)
}

/// Replaces the spec of an object that exists, as `kubectl replace` does.
pub async fn replace(
    namespace: &Namespace,
    kind: Kind,
    name: &str,
    spec: &Value,
) -> Result<Value, String> {
    let api = kind.api(namespace);
    let stored = api.get(name).await.unwrap();
    let mut object = kind.object(name, spec);
    object.meta_mut().resource_version = stored.metadata.resource_version;
    answer(api.replace(name, &PostParams::default(), &object).await)
}

/// Stores a status, as the operator does.
pub async fn set_status(namespace: &Namespace, kind: Kind, name: &str, status: &Value) {
    let patch = Patch::Merge(json!({"status": status}));
    kind.api(namespace)
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn answer(result: Result<DynamicObject, kube::Error>) -> Result<Value, String> {
    match result {
        Ok(object) => Ok(serde_json::to_value(object).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("the API server gave no answer: {error}"),
    }
}

/// What an attempt should come to.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Accepted,
    /// Refused with words that contain this.
    Refused(&'static str),
}

/// Collects what did not come out as expected, so that one run tells all.
#[derive(Default)]
pub struct Verdicts {
    wrong: Vec<String>,
    seen: usize,
}

impl Verdicts {
    pub fn check(&mut self, case: &str, expected: Expected, result: &Result<Value, String>) {
        self.seen += 1;
        match (expected, result) {
            (Expected::Accepted, Ok(_)) => println!("{case}: accepted"),
            (Expected::Refused(words), Err(message)) if message.contains(words) => {
                println!("{case}: {message}");
            }
            (_, Ok(_)) => self
                .wrong
                .push(format!("{case}: accepted, expected {expected:?}")),
            (_, Err(message)) => {
                self.wrong.push(format!(
                    "{case}: refused ({message}), expected {expected:?}"
                ));
            }
        }
    }
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.seen > 0, "nothing was tried");
            assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
        }
    }
}
