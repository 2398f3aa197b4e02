//! The Pod that the chart's Deployment makes.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::api::ListParams;
use tokio::time::Instant;

use crate::release::Release;

#[tokio::test]
async fn it_is_admitted_where_only_restricted_pods_are() {
    let release = Release::apply("{}").await;
    let pods = release.namespace().api::<Pod>();
    let deadline = Instant::now() + Duration::from_secs(180);
    let pod = loop {
        let mut found = pods.list(&ListParams::default()).await.unwrap().items;
        if let Some(pod) = found.pop() {
            assert_eq!(found, []);
            break pod.spec.unwrap();
        }
        if Instant::now() > deadline {
            let deployment = release.namespace().api::<Deployment>();
            let refused = deployment.get(&release.full_name()).await.unwrap().status;
            panic!("no Pod was created: {refused:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };

    assert_eq!(pod.service_account_name, Some(release.full_name()));
    assert_eq!(pod.enable_service_links, Some(false));
    // 100 s for the provider's answer to what is being sent, 30 s for the record.
    assert_eq!(pod.termination_grace_period_seconds, Some(130));
    let context = pod.security_context.unwrap();
    assert_eq!(context.run_as_non_root, Some(true));
    assert_eq!(context.run_as_user, Some(65532));
    assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");

    let container = &pod.containers[0];
    let context = container.security_context.clone().unwrap();
    assert_eq!(context.read_only_root_filesystem, Some(true));
    assert_eq!(context.allow_privilege_escalation, Some(false));
    assert_eq!(
        context.capabilities.unwrap().drop,
        Some(vec!["ALL".to_owned()])
    );
    let probed = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
        let get = probe.as_ref().unwrap().http_get.as_ref().unwrap();
        (get.path.clone().unwrap(), get.port.clone())
    };
    let http = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String("http".to_owned());
    assert_eq!(
        probed(&container.liveness_probe),
        ("/livez".to_owned(), http.clone())
    );
    assert_eq!(
        probed(&container.readiness_probe),
        ("/readyz".to_owned(), http)
    );
    let port = &container.ports.as_ref().unwrap()[0];
    assert_eq!(
        (port.name.as_deref(), port.container_port),
        (Some("http"), 8080)
    );

    let deployment = release.namespace().api::<Deployment>();
    let deployment = deployment
        .get(&release.full_name())
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(deployment.replicas, Some(1));
    // The next one stands by before this one is stopped.
    let strategy = deployment.strategy.unwrap();
    assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"));
    let zero = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(0);
    assert_eq!(strategy.rolling_update.unwrap().max_unavailable, Some(zero));
}

#[tokio::test]
async fn several_replicas_are_kept_apart_and_are_not_evicted_together() {
    let alone = Release::apply("{}").await;
    let budgets = alone.namespace().api::<PodDisruptionBudget>();
    let found = budgets.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(found, []);

    let release = Release::apply("replicas: 2").await;
    let deployment = release.namespace().api::<Deployment>();
    let deployment = deployment.get(&release.full_name()).await.unwrap();
    let deployment = deployment.spec.unwrap();
    assert_eq!(deployment.replicas, Some(2));
    let labels = deployment.selector.match_labels;
    let apart = deployment.template.spec.unwrap().affinity.unwrap();
    let apart = apart.pod_anti_affinity.unwrap();
    let apart = apart.preferred_during_scheduling_ignored_during_execution;
    let term = apart.unwrap().remove(0).pod_affinity_term;
    assert_eq!(term.topology_key, "kubernetes.io/hostname");
    assert_eq!(term.label_selector.unwrap().match_labels, labels);
    let budgets = release.namespace().api::<PodDisruptionBudget>();
    let budget = budgets.get(&release.full_name()).await.unwrap();
    assert_eq!(budget.spec.unwrap().selector.unwrap().match_labels, labels);
}
