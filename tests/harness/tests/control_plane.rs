//! What the harness promises about the control planes that it starts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use codeagent_harness::{
    Access, AuditedRequest, Component, ControlPlane, Namespace, Options, Verb, shared,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{self as core, ConfigMap};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, PostParams, WatchParams},
    core::{ApiResource, GroupVersionKind},
};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("key".to_owned(), "value".to_owned())])),
        ..ConfigMap::default()
    }
}

fn is_forbidden<T>(result: &Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403)
}

/// Lets `subject` (YAML, in flow style) edit everything ordinary in the namespace, and waits until `access`, which it
/// describes, may: the API server learns of new bindings by a watch.
async fn allow_editing(namespace: &Namespace, subject: &str, access: &Access) {
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: editor}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}
subjects: [{subject}]
"
    );
    namespace.apply_manifests(&binding).await.unwrap();
    let client = access.client().unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace.name());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    eventually("the binding holds", Duration::from_secs(60), async || {
        !is_forbidden(&config_maps.create(&dry_run, &config_map("probe")).await)
    })
    .await;
}

async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_control_plane_is_the_pinned_version_and_stores_objects() {
    let control_plane = shared().await;
    let version = control_plane
        .admin()
        .client()
        .unwrap()
        .apiserver_version()
        .await
        .unwrap();
    let go_mod = include_str!("../controlplane/go.mod");
    assert!(
        go_mod.contains(&format!("k8s.io/kubernetes {} ", version.git_version)),
        "the server says {version:?}"
    );

    let namespace = control_plane.namespace("store").await.unwrap();
    let config_maps = namespace.api::<ConfigMap>();
    config_maps
        .create(&PostParams::default(), &config_map("stored"))
        .await
        .unwrap();
    assert_eq!(
        config_maps.get("stored").await.unwrap().data,
        config_map("stored").data
    );
}

#[tokio::test]
async fn rbac_denies_a_user_without_bindings_and_allows_one_with() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("rbac").await.unwrap();
    let of = |user: &str, group| -> Api<ConfigMap> {
        let client = control_plane.user(user, group).unwrap().client().unwrap();
        Api::namespaced(client, namespace.name())
    };
    let jane = control_plane.user("jane", None).unwrap();
    allow_editing(&namespace, "{kind: User, name: jane}", &jane).await;

    let create = async |api: Api<ConfigMap>| {
        api.create(&PostParams::default(), &config_map("mine"))
            .await
    };

    assert!(is_forbidden(&create(of("nobody", None)).await));
    assert!(is_forbidden(
        &create(of("nobody", Some("developers"))).await
    ));
    create(of("jane", None)).await.unwrap();
    assert!(is_forbidden(&create(of("jane2", None)).await));
}

#[tokio::test]
async fn a_group_in_the_certificate_counts() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("group").await.unwrap();
    let anyone = control_plane.user("anyone", Some("developers")).unwrap();
    allow_editing(&namespace, "{kind: Group, name: developers}", &anyone).await;
    Api::<ConfigMap>::namespaced(anyone.client().unwrap(), namespace.name())
        .create(&PostParams::default(), &config_map("ours"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_service_account_acts_as_itself() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("account").await.unwrap();
    let name = namespace.name();
    namespace
        .apply_manifests("{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}")
        .await
        .unwrap();
    let robot = control_plane.service_account(name, "robot").await.unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(robot.client().unwrap(), name);

    let denied = config_maps.list(&ListParams::default()).await;
    assert!(is_forbidden(&denied));
    let answer = denied.unwrap_err().to_string();
    let user = format!("system:serviceaccount:{name}:robot");
    assert!(answer.contains(&user), "{answer}");

    let subject = format!("{{kind: ServiceAccount, name: robot, namespace: {name}}}");
    allow_editing(&namespace, &subject, &robot).await;
    config_maps.list(&ListParams::default()).await.unwrap();

    let error = control_plane.service_account(name, "nobody").await;
    assert!(error.unwrap_err().to_string().contains("nobody"));
}

#[tokio::test]
async fn a_namespace_is_deleted_with_what_is_in_it_when_the_test_ends() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("deletion").await.unwrap();
    let name = namespace.name().to_owned();
    let client = namespace.client();
    namespace
        .api::<ConfigMap>()
        .create(&PostParams::default(), &config_map("left"))
        .await
        .unwrap();

    drop(namespace);
    let namespaces: Api<core::Namespace> = Api::all(client);
    let left = namespaces.get_opt(&name).await.unwrap();
    assert!(
        left.is_some(),
        "nobody waits for its end, which takes seconds"
    );
    eventually(
        "the namespace is gone",
        Duration::from_secs(60),
        async || namespaces.get_opt(&name).await.unwrap().is_none(),
    )
    .await;
}

#[tokio::test]
async fn the_audit_log_tells_who_asked_for_what() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("audit").await.unwrap();
    let auditee = control_plane.user("auditee", None).unwrap();
    allow_editing(&namespace, "{kind: User, name: auditee}", &auditee).await;
    let client = auditee.client().unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace.name());
    let elsewhere: Api<ConfigMap> = Api::namespaced(client, "default");

    config_maps.list(&ListParams::default()).await.unwrap();
    let audit_log = control_plane.audit_log().unwrap();
    config_maps
        .create(&PostParams::default(), &config_map("audited"))
        .await
        .unwrap();
    config_maps.get("audited").await.unwrap();
    config_maps
        .delete("audited", &DeleteParams::default())
        .await
        .unwrap();
    let denied = elsewhere.get("audited").await;
    assert!(is_forbidden(&denied));

    let requests = audit_log
        .requests(|request| request.user == "auditee")
        .unwrap();
    let told: Vec<_> = requests
        .iter()
        .map(|request| {
            let AuditedRequest {
                verb,
                resource,
                subresource,
                namespace,
                name,
                code,
                ..
            } = request;
            assert_eq!(
                (resource.as_str(), subresource.as_str()),
                ("configmaps", "")
            );
            (verb.clone(), namespace.as_str(), name.as_str(), *code)
        })
        .collect();
    let here = namespace.name();
    assert_eq!(
        told,
        [
            (Verb::Create, here, "audited", 201),
            (Verb::Get, here, "audited", 200),
            (Verb::Delete, here, "audited", 200),
            (Verb::Get, "default", "audited", 403),
        ],
        "the list before the view was taken does not count"
    );
    let writes = audit_log
        .requests(|request| request.user == "auditee" && request.verb.is_write())
        .unwrap();
    assert_eq!(writes.len(), 2);
    assert!(requests.is_sorted_by_key(|request| request.received));
}

#[tokio::test]
async fn the_audit_log_counts_a_watch_once_when_it_starts() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("watch").await.unwrap();
    let audit_log = control_plane.audit_log().unwrap();
    let watches = || {
        let here = namespace.name();
        audit_log
            .requests(|request| request.namespace == here && request.verb == Verb::Watch)
            .unwrap()
            .into_iter()
            .map(|request| (request.user, request.code))
            .collect::<Vec<_>>()
    };
    let admin = ("harness-admin".to_owned(), 200);
    let nobody = ("nobody".to_owned(), 403);

    let config_maps = namespace.api::<ConfigMap>();
    let mut events = config_maps
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap()
        .boxed();
    events.next().await.unwrap().unwrap();
    assert_eq!(
        watches(),
        std::slice::from_ref(&admin),
        "it goes on and counts"
    );

    let stranger = control_plane.user("nobody", None).unwrap();
    let refused = Api::<ConfigMap>::namespaced(stranger.client().unwrap(), namespace.name())
        .watch(&WatchParams::default(), "0")
        .await;
    assert!(is_forbidden(&refused.map(|_| ())));
    drop(events);
    eventually("the watch has ended", Duration::from_secs(60), async || {
        let log = std::fs::read_to_string(control_plane.directory().join("audit.log")).unwrap();
        log.lines()
            .filter(|line| line.contains(namespace.name()) && line.contains("\"verb\":\"watch\""))
            .filter(|line| line.contains("\"stage\":\"ResponseComplete\""))
            .count()
            == 2
    })
    .await;
    assert_eq!(watches(), [admin, nobody], "neither end counts again");
}

#[tokio::test]
async fn a_definition_can_be_used_once_it_is_applied() {
    const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.harness.codeagents.dev}
spec:
  group: harness.codeagents.dev
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer, minimum: 1}}}
---
# Only a comment.
---
apiVersion: harness.codeagents.dev/v1
kind: Widget
metadata: {name: small}
spec: {size: 1}
";
    let control_plane = shared().await;
    let namespace = control_plane.namespace("widgets").await.unwrap();
    let applied = namespace.apply_manifests(WIDGETS).await.unwrap();
    assert_eq!(applied.len(), 2);

    let kind = GroupVersionKind::gvk("harness.codeagents.dev", "v1", "Widget");
    let widgets: Api<DynamicObject> = Api::namespaced_with(
        namespace.client(),
        namespace.name(),
        &ApiResource::from_gvk(&kind),
    );
    assert_eq!(widgets.get("small").await.unwrap().data["spec"]["size"], 1);

    let refused = namespace
        .apply_manifests(
            "{apiVersion: harness.codeagents.dev/v1, kind: Widget, metadata: {name: none}, spec: {size: 0}}",
        )
        .await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the API server refused Widget none"
    );
    let nameless = namespace
        .apply_manifests("{apiVersion: v1, kind: ConfigMap}")
        .await;
    assert!(
        nameless
            .unwrap_err()
            .to_string()
            .starts_with("document 1 is not")
    );
}

#[tokio::test]
async fn kubectl_works_with_each_kubeconfig() {
    let control_plane = shared().await;
    let namespace = control_plane.namespace("kubectl").await.unwrap();
    let admin = control_plane.admin();
    let name = namespace.name();

    let applied = admin
        .kubectl_with_input(
            &["apply", "-n", name, "-f", "-"],
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: by-kubectl}",
        )
        .await
        .unwrap();
    assert!(applied.success(), "{applied:?}");
    assert_eq!(applied.stdout.trim(), "configmap/by-kubectl created");
    namespace
        .api::<ConfigMap>()
        .get("by-kubectl")
        .await
        .unwrap();

    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("kubeconfig");
    admin.write_kubeconfig(&path).unwrap();
    let output = Command::new("kubectl")
        .env("KUBERC", "off")
        .arg(format!("--kubeconfig={}", path.display()))
        .arg(format!("--cache-dir={}", copy.path().display()))
        .args([
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "harness-admin");

    let nobody = control_plane.user("nobody", None).unwrap();
    let denied = nobody
        .kubectl(&["get", "configmaps", "-n", name])
        .await
        .unwrap();
    assert!(!denied.success());
    assert!(denied.stderr.contains("Forbidden"), "{denied:?}");
}

#[tokio::test]
async fn the_api_server_can_be_stopped_and_returns_at_the_same_address_with_its_data() {
    let options = Options {
        controller_manager: false,
        audit_log: true,
        ..Options::default()
    };
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    let client = control_plane.admin().client().unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let audit_log = control_plane.audit_log().unwrap();
    config_maps
        .create(&PostParams::default(), &config_map("survivor"))
        .await
        .unwrap();
    let before = control_plane.process_ids();
    assert_eq!(before.len(), 2);

    control_plane
        .stop_component(Component::ApiServer)
        .await
        .unwrap();
    assert!(config_maps.get("survivor").await.is_err());

    control_plane
        .start_component(Component::ApiServer)
        .await
        .unwrap();
    config_maps.get("survivor").await.unwrap();
    let after = control_plane.process_ids();
    assert_eq!(before[0], after[0], "etcd went on");
    assert_ne!(before[1], after[1]);
    let gets = audit_log
        .requests(|request| request.name == "survivor" && request.verb == Verb::Get)
        .unwrap();
    assert_eq!(gets.len(), 1, "the audit log goes on, too: {gets:?}");

    let directory = control_plane.directory().to_owned();
    drop(control_plane);
    assert!(!directory.exists());
    for (component, id) in after {
        assert!(!is_running(id), "{component} is still there");
    }
}

#[tokio::test]
async fn a_component_that_does_not_start_is_reported_with_its_log() {
    let options = Options {
        controller_manager: false,
        api_server_flags: vec!["--no-such-flag".to_owned()],
        ..Options::default()
    };
    let error = ControlPlane::start(options).await.unwrap_err().to_string();
    assert!(error.starts_with("kube-apiserver ended with"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
}

/// Tells [`owner_of_a_control_plane`] that it is run as the process that will be killed.
const OWNER: &str = "CODEAGENT_HARNESS_TEST_OWNER";

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
async fn owner_of_a_control_plane() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let control_plane = ControlPlane::start(Options::default()).await.unwrap();
    for (_, id) in control_plane.process_ids() {
        println!("{OWNER} process {id}");
    }
    println!("{OWNER} directory {}", control_plane.directory().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nothing_is_left_when_the_owner_is_killed() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_of_a_control_plane", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut processes = Vec::new();
    let mut directory = PathBuf::new();
    for line in BufReader::new(owner.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, told)) = line.split_once(OWNER) else {
            continue;
        };
        match told.trim().split_once(' ').unwrap() {
            ("process", id) => processes.push(id.parse().unwrap()),
            (_, path) => {
                directory = PathBuf::from(path);
                break;
            }
        }
    }
    assert_eq!(processes.len(), 3);
    assert!(processes.iter().all(|id| is_running(*id)));
    assert!(directory.join("etcd-data").is_dir());

    // SIGKILL: the owner has no chance to clean up.
    owner.kill().unwrap();
    owner.wait().unwrap();

    eventually("all components end", Duration::from_secs(60), async || {
        !processes.iter().any(|id| is_running(*id))
    })
    .await;
    eventually(
        "the files are removed",
        Duration::from_secs(60),
        async || !directory.exists(),
    )
    .await;
}

/// Whether a process exists and is more than an entry that waits to be read by its parent.
fn is_running(id: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &id.to_string()])
        .output()
        .unwrap();
    let state = String::from_utf8_lossy(&output.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
