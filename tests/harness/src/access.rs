//! Ways into a control plane: one [`Access`] per identity, as configuration, client, kubeconfig and kubectl.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::ServiceAccount,
    },
};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, PostParams},
    config::AuthInfo,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{certificates::Identity, manifests};

/// How long the tokens of service accounts are valid, in seconds: longer than any test run.
const TOKEN_LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// Why an identity could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The certificate authority could not sign the user's certificate.
    #[error("no client certificate for this user")]
    Certificate(#[from] rcgen::Error),
    /// The API server refused or did not answer.
    #[error("{doing}")]
    Kubernetes {
        /// What was tried.
        doing: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// A request for a token was accepted and brought none.
    #[error("the API server issued no token for {user}")]
    NoToken {
        /// Whom it was for.
        user: String,
    },
    /// A kubeconfig could not be written, or kubectl not be run.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The credentials do not fit the client's types.
    #[error("the credentials could not be encoded")]
    Encoding(#[from] serde_json::Error),
    /// A manifest could not be applied.
    #[error("the manifests were not applied")]
    Manifests(#[from] manifests::ApplyError),
}

impl AccessError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> AccessError {
        let doing = doing.into();
        move |source| AccessError::Io { doing, source }
    }

    fn kubernetes(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> AccessError {
        let doing = doing.into();
        move |source| AccessError::Kubernetes {
            doing,
            source: Box::new(source),
        }
    }
}

/// The address of an API server and the authority that its certificate is checked against.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) uri: http::Uri,
    pub(crate) authority_der: Vec<u8>,
    pub(crate) authority_pem: String,
    /// Where kubeconfigs and kubectl's caches are kept.
    pub(crate) directory: PathBuf,
}

/// One identity at one control plane.
///
/// It holds no connection, so it may be used from any runtime; each [`client`](Access::client) belongs to the
/// runtime that made it.
#[derive(Debug, Clone)]
pub struct Access {
    endpoint: Endpoint,
    credentials: AuthInfo,
    kubeconfig: PathBuf,
}

impl Access {
    pub(crate) fn by_certificate(
        endpoint: &Endpoint,
        user: &str,
        identity: &Identity,
    ) -> Result<Access, AccessError> {
        let credentials = json!({
            "client-certificate-data": ByteString(identity.certificate.clone().into_bytes()),
            "client-key-data": ByteString(identity.key.clone().into_bytes()),
        });
        Access::new(endpoint, user, credentials)
    }

    fn new(endpoint: &Endpoint, user: &str, credentials: Value) -> Result<Access, AccessError> {
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [{"name": "default", "cluster": {
                "server": endpoint.uri.to_string(),
                "certificate-authority-data": ByteString(endpoint.authority_pem.clone().into_bytes()),
            }}],
            "users": [{"name": user, "user": &credentials}],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": user}}],
        });
        // User names contain colons and slashes; two users must not share a file.
        let file = user.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let kubeconfig = endpoint
            .directory
            .join(format!("{file}-{}.kubeconfig", crate::random_suffix()));
        write_private(
            &kubeconfig,
            &(serde_json::to_string_pretty(&document)? + "\n"),
        )?;
        Ok(Access {
            endpoint: endpoint.clone(),
            credentials: serde_json::from_value(credentials)?,
            kubeconfig,
        })
    }

    /// The configuration of a client, with kube's defaults (among them: failed requests are retried).
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.endpoint.uri.clone());
        config.root_cert = Some(vec![self.endpoint.authority_der.clone()]);
        config.auth_info = self.credentials.clone();
        config
    }

    /// A client. It belongs to the current tokio runtime: make one per test.
    ///
    /// # Errors
    ///
    /// If the TLS configuration is refused.
    pub fn client(&self) -> Result<Client, AccessError> {
        Client::try_from(self.config()).map_err(AccessError::kubernetes("no client"))
    }

    /// A kubeconfig of this identity, readable by the owner only. It is removed with the control plane.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes the kubeconfig to a path of the caller's choice; the file depends on no other.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<(), AccessError> {
        let text = fs::read_to_string(&self.kubeconfig).map_err(AccessError::io(format!(
            "reading {}",
            self.kubeconfig.display()
        )))?;
        write_private(path, &text)
    }

    /// Access as a service account that exists, with a token requested by this identity (valid for a day).
    ///
    /// # Errors
    ///
    /// If there is no such service account, or this identity may not request its tokens.
    pub async fn service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Access, AccessError> {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_LIFETIME_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let issued = Api::<ServiceAccount>::namespaced(self.client()?, namespace)
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(AccessError::kubernetes(format!(
                "requesting a token of service account {namespace}/{name}"
            )))?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        match issued.status {
            Some(status) => Access::new(&self.endpoint, &user, json!({"token": status.token})),
            None => Err(AccessError::NoToken { user }),
        }
    }

    /// Applies every document of `yaml` in order (server-side, forced) and waits until CustomResourceDefinitions
    /// are established. Namespaced objects without a namespace go to `default`. New RBAC rules take effect a moment
    /// later.
    ///
    /// # Errors
    ///
    /// At the first document that is malformed or refused.
    pub async fn apply_manifests(&self, yaml: &str) -> Result<Vec<DynamicObject>, AccessError> {
        Ok(manifests::apply(&self.client()?, "default", yaml).await?)
    }

    /// Runs the installed kubectl as this identity, with a cache directory of its own and without the caller's kuberc.
    ///
    /// # Errors
    ///
    /// If kubectl cannot be run. That it fails is not an error: see [`KubectlOutput::success`].
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<KubectlOutput, AccessError> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Like [`kubectl`](Access::kubectl), with something to read, as for `apply -f -`.
    ///
    /// # Errors
    ///
    /// If kubectl cannot be run.
    pub async fn kubectl_with_input(
        &self,
        arguments: &[&str],
        input: &str,
    ) -> Result<KubectlOutput, AccessError> {
        // In the environment instead of flags: kubectl refuses flags before the name of a plugin.
        let mut child = Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env(
                "KUBECACHEDIR",
                self.endpoint.directory.join("kubectl-cache"),
            )
            // The caller's own aliases and default flags would change what a test runs.
            .env("KUBERC", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(AccessError::io("starting kubectl (is it installed?)"))?;
        let stdin = child.stdin.take();
        let write = async move {
            if let Some(mut stdin) = stdin {
                // A kubectl that does not read its input may be gone by now; its answer tells more than EPIPE.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        // At the same time, or both sides could wait for the other one to read.
        let ((), output) = tokio::join!(write, child.wait_with_output());
        let output = output.map_err(AccessError::io("running kubectl"))?;
        Ok(KubectlOutput {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// What kubectl answered.
#[derive(Debug, Clone)]
pub struct KubectlOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about. A kubectl of another minor version warns about that.
    pub stderr: String,
}

impl KubectlOutput {
    /// Whether kubectl ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), AccessError> {
    fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(AccessError::io(format!("writing {}", path.display())))
}
