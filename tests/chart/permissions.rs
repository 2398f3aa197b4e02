//! What the chart lets the operator and people do, asked of a real API server.

use std::{collections::BTreeSet, time::Duration};

use codeagent_harness::{Access, Namespace};
use codeagent_operator::controllers::permissions::{self, Place};
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::{Api, api::PostParams};
use tokio::time::Instant;

use crate::release::Release;

/// One thing that somebody may do: `VERB RESOURCE.GROUP`, with `/NAME` if it is limited to an object.
type Permission = String;

/// All that somebody may do in a namespace, including what is granted in the whole cluster.
async fn permissions(access: &Access, namespace: &str) -> BTreeSet<Permission> {
    let api: Api<SelfSubjectRulesReview> = Api::all(access.client().unwrap());
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let status = api
        .create(&PostParams::default(), &review)
        .await
        .unwrap()
        .status
        .unwrap();
    assert!(!status.incomplete, "{:?}", status.evaluation_error);
    let mut found = BTreeSet::new();
    for rule in status.resource_rules {
        let mut names = rule.resource_names.unwrap_or_default();
        if names.is_empty() {
            names.push(String::new());
        }
        for group in rule.api_groups.unwrap_or_default() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    for name in &names {
                        found.insert(permission(verb, resource, &group, name));
                    }
                }
            }
        }
    }
    found
}

fn permission(verb: &str, resource: &str, group: &str, name: &str) -> Permission {
    let dot = if group.is_empty() { "" } else { "." };
    let slash = if name.is_empty() { "" } else { "/" };
    format!("{verb} {resource}{dot}{group}{slash}{name}")
}

/// Asserts that `access` may do exactly this, beyond what every ServiceAccount may. Grants take effect a moment after
/// they are applied.
async fn may_exactly(access: &Access, release: &Release, namespace: &str, expected: &[Permission]) {
    let nobody = release
        .control_plane()
        .service_account(release.name(), "default");
    let everybody = permissions(&nobody.await.unwrap(), namespace).await;
    let expected: BTreeSet<Permission> = expected.iter().cloned().collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let all = permissions(access, namespace).await;
        let own: BTreeSet<Permission> = all.difference(&everybody).cloned().collect();
        if own == expected {
            return;
        }
        if Instant::now() > deadline {
            let too_much: Vec<_> = own.difference(&expected).collect();
            let missing: Vec<_> = expected.difference(&own).collect();
            panic!("in {namespace}: too much: {too_much:?}, missing: {missing:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the operator needs at one place.
fn needed(places: &[Place], name: Option<&str>) -> Vec<Permission> {
    let here = permissions::PERMISSIONS
        .iter()
        .filter(|it| places.contains(&it.place));
    here.map(|it| {
        let resource = match it.subresource {
            "" => it.resource.to_owned(),
            subresource => format!("{}/{subresource}", it.resource),
        };
        permission(it.verb, &resource, it.group, name.unwrap_or_default())
    })
    .collect()
}

/// What the operator may do in a namespace that it serves. Its object is granted alone where there is no ClusterRole.
fn serving(namespace: Option<&str>) -> Vec<Permission> {
    [
        needed(&[Place::Served], None),
        needed(&[Place::ServedNamespace], namespace),
    ]
    .concat()
}

fn leading() -> Vec<Permission> {
    [
        needed(&[Place::Own], None),
        needed(&[Place::OwnLease], Some("codeagent-operator")),
    ]
    .concat()
}

/// What the operator may do besides in its own namespace, to keep the certificate of timelines.
fn keeping_a_certificate(release: &Release) -> Vec<Permission> {
    let secret = format!("{}-timeline-tls", release.full_name());
    vec![
        "create secrets".to_owned(),
        format!("get secrets/{secret}"),
        format!("update secrets/{secret}"),
    ]
}

/// What the operator may do besides in the whole cluster, to let readers of timelines in.
fn reviewing() -> Vec<Permission> {
    [
        "create tokenreviews.authentication.k8s.io",
        "create subjectaccessreviews.authorization.k8s.io",
    ]
    .map(str::to_owned)
    .to_vec()
}

async fn namespace(release: &Release) -> Namespace {
    release.control_plane().namespace("team").await.unwrap()
}

#[tokio::test]
async fn cluster_wide_the_operator_may_do_exactly_what_it_does() {
    let release = Release::apply("{}").await;
    let elsewhere = namespace(&release).await;
    let operator = release.operator().await;

    may_exactly(&operator, &release, elsewhere.name(), &serving(None)).await;
    let own = [serving(None), leading()].concat();
    may_exactly(&operator, &release, release.name(), &own).await;
}

#[tokio::test]
async fn in_listed_namespaces_it_may_do_the_same_and_elsewhere_nothing() {
    let control_plane = codeagent_harness::shared().await;
    let one = control_plane.namespace("team").await.unwrap();
    let two = control_plane.namespace("team").await.unwrap();
    let other = control_plane.namespace("team").await.unwrap();
    let values = format!("watchNamespaces: [{}, {}]", one.name(), two.name());
    let release = Release::apply(&values).await;
    let operator = release.operator().await;

    for served in [&one, &two] {
        let expected = serving(Some(served.name()));
        may_exactly(&operator, &release, served.name(), &expected).await;
    }
    may_exactly(&operator, &release, release.name(), &leading()).await;
    may_exactly(&operator, &release, other.name(), &[]).await;
}

#[tokio::test]
async fn for_timelines_it_may_ask_who_somebody_is_and_keep_its_certificate() {
    let release = Release::apply("timeline: {enabled: true}").await;
    let elsewhere = namespace(&release).await;
    let operator = release.operator().await;
    let everywhere = [serving(None), reviewing()].concat();
    may_exactly(&operator, &release, elsewhere.name(), &everywhere).await;
    let own = [everywhere, leading(), keeping_a_certificate(&release)].concat();
    may_exactly(&operator, &release, release.name(), &own).await;
}

/// In listed namespaces nothing cluster-wide is granted but what somebody asks for; and a certificate of somebody else's is only read.
#[tokio::test]
async fn in_listed_namespaces_it_may_ask_who_somebody_is_only_if_told_so() {
    let control_plane = codeagent_harness::shared().await;
    let served = control_plane.namespace("team").await.unwrap();
    for (authority, allowed) in [
        ("authDelegator: false", vec![]),
        ("authDelegator: true", reviewing()),
    ] {
        let values = format!(
            "{{watchNamespaces: [{}], timeline: {{enabled: true, tls: {{secretName: own}}, {authority}}}}}",
            served.name()
        );
        let release = Release::apply(&values).await;
        let operator = release.operator().await;
        let expected = [serving(Some(served.name())), allowed.clone()].concat();
        may_exactly(&operator, &release, served.name(), &expected).await;
        let own = [leading(), allowed].concat();
        may_exactly(&operator, &release, release.name(), &own).await;
    }
}

/// What the rules say is also what happens.
#[tokio::test]
async fn requests_beyond_that_are_forbidden() {
    let control_plane = codeagent_harness::shared().await;
    let served = control_plane.namespace("team").await.unwrap();
    let other = control_plane.namespace("team").await.unwrap();
    let release = Release::apply(&format!("watchNamespaces: [{}]", served.name())).await;
    let operator = release.operator().await;
    may_exactly(
        &operator,
        &release,
        served.name(),
        &serving(Some(served.name())),
    )
    .await;
    for namespace in [&served, &other] {
        let secret =
            "{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {api-key: abc}}";
        namespace.apply_manifests(secret).await.unwrap();
    }
    let (served, other) = (served.name(), other.name());

    let allowed: [&[&str]; 4] = [
        &["get", "secret", "key", "-n", served],
        &["get", "namespace", served],
        &["get", "codesessions", "-n", served],
        &["get", "codeagents", "-n", served],
    ];
    for request in allowed {
        let output = operator.kubectl(request).await.unwrap();
        assert!(output.success(), "{request:?}: {}", output.stderr);
    }
    let forbidden: [&[&str]; 11] = [
        &["get", "secrets", "-n", served],
        &["get", "secret", "key", "-n", other],
        &["get", "secrets", "--all-namespaces"],
        &["get", "namespace", other],
        &["get", "namespaces"],
        &["get", "codesessions", "--all-namespaces"],
        &["get", "codesessions", "-n", other],
        &["delete", "codeagent", "any", "-n", served],
        &["delete", "secret", "key", "-n", served],
        &["create", "configmap", "any", "-n", served],
        &["run", "any", "--image=any", "-n", served],
    ];
    for request in forbidden {
        let output = operator.kubectl(request).await.unwrap();
        assert!(!output.success(), "{request:?}: {}", output.stdout);
        assert!(
            output.stderr.to_lowercase().contains("forbidden"),
            "{request:?}: {}",
            output.stderr
        );
    }
}

/// Kubernetes' own roles for people, bound in a namespace.
#[tokio::test]
async fn viewers_read_and_editors_write_but_nobody_writes_a_status() {
    let release = Release::apply("{}").await;
    let (release_name, team) = (release.name(), namespace(&release).await);
    let verbs = |verbs: &[&str]| -> BTreeSet<Permission> {
        let resources = ["codeagents", "codesessions"];
        let all = resources.iter().flat_map(|resource| {
            verbs
                .iter()
                .map(|verb| permission(verb, resource, "codeagents.dev", ""))
        });
        let read = ["events", "artifacts"]
            .map(|what| permission("get", &format!("codesessions/{what}"), "codeagents.dev", ""));
        all.chain(read).collect()
    };
    let read = ["get", "list", "watch"];
    let write = ["create", "update", "patch", "delete", "deletecollection"];
    let own = |role: &str| format!("{}-{role}", release.full_name());
    let (user, approver) = (own("user"), own("approver"));
    let of_sessions = |write: &[&str]| -> BTreeSet<Permission> {
        let written = write
            .iter()
            .map(|verb| permission(verb, "codesessions", "codeagents.dev", ""));
        written.chain(verbs(&read)).collect()
    };
    let using = |mut all: BTreeSet<Permission>| {
        all.insert("use codeagents.codeagents.dev".to_owned());
        all
    };
    let watching = |mut all: BTreeSet<Permission>| {
        all.insert("get codesessions/preview.codeagents.dev".to_owned());
        using(all)
    };
    for (role, expected) in [
        (user.as_str(), using(of_sessions(&write[..4]))),
        (approver.as_str(), of_sessions(&["update", "patch"])),
        ("view", verbs(&read)),
        ("edit", watching(verbs(&[&read[..], &write].concat()))),
        ("admin", watching(verbs(&[&read[..], &write].concat()))),
    ] {
        let user = format!("{}-{release_name}", role.rsplit('-').next().unwrap());
        let access = release.control_plane().user(&user, None).unwrap();
        let clusterrole = format!("--clusterrole={role}");
        let binding = [
            "create",
            "rolebinding",
            role,
            &clusterrole,
            "--user",
            &user,
            "-n",
            team.name(),
        ];
        release.kubectl(&binding, "").await;
        // The controller that merges the roles needs a moment.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut found = permissions(&access, team.name()).await;
            found.retain(|permission| permission.contains("codeagents.dev"));
            if found == expected {
                break;
            }
            assert!(Instant::now() < deadline, "{role}: {found:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
