//! The chart applied to the shared control plane.

use codeagent_harness::{Access, ControlPlane, Namespace, shared};

use crate::helm;

/// The chart, rendered and applied to a namespace of its own.
pub struct Release {
    control_plane: &'static ControlPlane,
    namespace: Namespace,
}

impl Release {
    /// Creates a namespace in which only Pods of the standard "restricted" are admitted, and applies the chart to it.
    /// Unknown and repeated fields of manifests are refused.
    pub async fn apply(values: &str) -> Release {
        Self::apply_to(shared().await, values).await
    }

    /// The same at another control plane.
    pub async fn apply_to(control_plane: &'static ControlPlane, values: &str) -> Release {
        let namespace = control_plane.namespace("chart").await.unwrap();
        let release = Release {
            control_plane,
            namespace,
        };
        let label = "pod-security.kubernetes.io/enforce=restricted";
        release
            .kubectl(&["label", "namespace", release.name(), label], "")
            .await;
        let manifests = helm::template_in_full(release.name(), release.name(), values).unwrap();
        let (definitions, others): (Vec<_>, Vec<_>) = manifests
            .split("\n---\n")
            .filter(|document| !document.contains(helm::HOOK))
            .partition(|document| document.contains("kind: CustomResourceDefinition"));
        // Several tests apply the same definitions, at the same time.
        let applied = control_plane
            .admin()
            .apply_manifests(&definitions.join("\n---\n"))
            .await
            .unwrap();
        assert_eq!(applied.len(), definitions.len());
        release
            .kubectl(
                &["apply", "--server-side", "--validate=strict", "-f", "-"],
                &others.join("\n---\n"),
            )
            .await;
        release
    }

    /// The release's name and its namespace's.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// What the chart calls its objects.
    pub fn full_name(&self) -> String {
        format!("{}-codeagent-operator", self.name())
    }

    pub fn control_plane(&self) -> &'static ControlPlane {
        self.control_plane
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Access as the operator that this release runs: its ServiceAccount.
    pub async fn operator(&self) -> Access {
        self.control_plane
            .service_account(self.name(), &self.full_name())
            .await
            .unwrap()
    }

    /// Runs kubectl as an administrator. It must succeed, without a warning of the API server.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let admin = self.control_plane.admin();
        let output = admin.kubectl_with_input(arguments, input).await.unwrap();
        assert!(output.success(), "{arguments:?}: {}", output.stderr);
        let warnings = output.stderr.lines().filter(|line| {
            line.starts_with("Warning") && !line.contains("version difference between client")
        });
        assert_eq!(warnings.collect::<Vec<_>>(), [""; 0], "{arguments:?}");
        output.stdout
    }
}
