//! The control plane of a whole matrix, and the namespaces that its runs take turns in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codeagent_harness::{Access, ControlPlane, Namespace, Options};
use codeagent_operator::api::crds;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};

use crate::Trouble;
use crate::history::Histories;
use crate::provider;
use crate::proxy::Upstream;

/// Who the operator is, to the API server.
const OPERATOR: &str = "operator-under-test";
/// How long new permissions may take to have an effect.
const PATIENCE: Duration = Duration::from_secs(20);

/// The rules of the chart's role, as Helm would fill them in.
pub fn chart_rules() -> Option<&'static str> {
    let helpers = include_str!("../../../charts/codeagent-operator/templates/_helpers.tpl");
    let (_, rest) = helpers.split_once("{{- define \"codeagent-operator.rules\" -}}\n")?;
    let (rules, _) = rest.split_once("{{- end -}}")?;
    Some(rules)
}

/// The further rules of the chart's role where agents run as Jobs.
pub fn chart_job_rules() -> Option<&'static str> {
    let helpers = include_str!("../../../charts/codeagent-operator/templates/_helpers.tpl");
    let (_, rest) = helpers.split_once("{{- define \"codeagent-operator.jobRules\" -}}\n")?;
    let (rules, _) = rest.split_once("{{- end -}}")?;
    Some(rules)
}

/// A control plane with the definitions and an operator's user.
pub struct Cluster {
    control_plane: ControlPlane,
    /// An administrator's client.
    pub admin: kube::Client,
    /// Where the proxies send calls.
    pub upstream: Upstream,
    /// What becomes of every session.
    pub histories: Histories,
}

impl Cluster {
    /// Starts it. It ends when it is dropped.
    ///
    /// # Errors
    /// If the control plane does not start or refuses something.
    pub async fn start() -> Result<Arc<Self>, Trouble> {
        // Nothing here needs the controller manager, and it would look at every object of every run.
        let options = Options {
            controller_manager: false,
            ..Options::default()
        };
        let control_plane = ControlPlane::start(options).await?;
        let admin = control_plane.admin();
        for crd in crds::all() {
            admin.apply_manifests(&crds::to_yaml(&crd)?).await?;
        }
        let rules = chart_rules().ok_or("the chart has no rules")?;
        admin.apply_manifests(&permissions(rules)).await?;
        let client = once_only(admin)?;
        permitted(&client, OPERATOR, "default", PATIENCE).await?;
        let operator = control_plane.user(OPERATOR, None)?;
        Ok(Arc::new(Self {
            upstream: Upstream::new(once_only(&operator)?),
            histories: Histories::follow(client.clone()).await?,
            admin: client,
            control_plane,
        }))
    }

    /// The certificate authority of the control plane, in DER: any will do for a client that never uses TLS, and spares it reading the system's.
    pub fn authority(&self) -> Option<Vec<Vec<u8>>> {
        self.control_plane.admin().config().root_cert
    }

    /// A namespace with the Secrets of all providers.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn slot(&self) -> Result<Namespace, Trouble> {
        let namespace = self.control_plane.namespace("faults").await?;
        let secrets: Api<Secret> = namespace.api();
        for provider in provider::ALL {
            let secret = secret(provider);
            secrets.create(&PostParams::default(), &secret).await?;
        }
        Ok(namespace)
    }
}

/// The Secret of a provider, as it is before any run.
pub fn secret(provider: &provider::UnderTest) -> Secret {
    let values = provider.secret.iter();
    Secret {
        metadata: ObjectMeta {
            name: Some(provider.secret_name().to_owned()),
            labels: Some([("codeagents.dev/credential".to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        string_data: Some(
            values
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// A client that repeats nothing by itself.
fn once_only(access: &Access) -> Result<kube::Client, Trouble> {
    let mut config = access.config();
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// What the chart gives an operator that serves all namespaces.
fn permissions(rules: &str) -> String {
    format!(
        "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {OPERATOR}}}
rules:
{rules}
- {{apiGroups: [\"\"], resources: [namespaces], verbs: [get]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {OPERATOR}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {OPERATOR}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {OPERATOR}}}]
"
    )
}

/// Waits until the operator's rules are in force for `user` in `namespace`, at most for `patience`: they take effect a moment after
/// they are stored.
///
/// # Errors
/// If they do not in time, or the API server cannot be asked.
pub async fn permitted(
    admin: &kube::Client,
    user: &str,
    namespace: &str,
    patience: Duration,
) -> Result<(), Trouble> {
    let question = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some("create".to_owned()),
                group: Some("coordination.k8s.io".to_owned()),
                resource: Some("leases".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(admin.clone());
    let begun = Instant::now();
    loop {
        let answer = reviews.create(&PostParams::default(), &question).await?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err("the permissions do not take effect".into());
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}
