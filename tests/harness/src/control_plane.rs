//! Starting, restarting and ending etcd, kube-apiserver and kube-controller-manager.

use std::{
    fmt, fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    access::{Access, AccessError, Endpoint},
    audit::{self, AuditError, AuditLog},
    binaries::{Binaries, BinariesError, Sources},
    certificates::{self, Authority, Identity},
    component::Component,
    namespace::Namespace,
    process::Process,
    snapshot::{self, SnapshotError},
};

/// How long a component may take to be ready. Seconds are usual; a machine that compiles at the same time needs more.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A component that is stopped may end in order for this long. The API server would wait for its watches much longer.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Ports are taken from below Linux' and above the privileged range: there no outgoing connection, not even the
/// one of a client that keeps connecting to a stopped server (it can meet itself), takes a port away.
const PORTS: Range<u16> = 20_000..32_000;

/// How often a start is tried with other ports when one was taken between its choice and its use.
const PORT_ATTEMPTS: usize = 5;

const SERVICE_RANGE: &str = "10.96.0.0/24";

/// The first address of [`SERVICE_RANGE`]: where Pods look for the API server, without anything that forwards there.
pub(crate) const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The port where they do.
const SERVICE_PORT: u16 = 443;

/// What the controller manager does: everything that works without nodes and that tests have a use for.
const CONTROLLERS: &str = "serviceaccount-token-controller,serviceaccount-controller,\
    root-ca-certificate-publisher-controller,garbage-collector-controller,namespace-controller,\
    resourcequota-controller,clusterrole-aggregation-controller,\
    validatingadmissionpolicy-status-controller,job-controller,deployment-controller,\
    replicaset-controller,disruption-controller,ttl-after-finished-controller";

const ADMIN_USER: &str = "harness-admin";
const CONTROLLER_MANAGER_USER: &str = "system:kube-controller-manager";

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the controller manager runs (default: yes). Without it there is no garbage collection, no deletion of
    /// namespaces and no default service account; the start is about two seconds faster.
    pub controller_manager: bool,
    /// Whether etcd survives a crash of the machine (default: no). It survives a crash of its own either way.
    pub durable: bool,
    /// Whether requests are logged for [`ControlPlane::audit_log`] (default: no).
    pub audit_log: bool,
    /// Further flags of the API server (default: none).
    pub api_server_flags: Vec<String>,
    /// The address of the node that belongs to it (default: none). Then the API server listens on every address, at the
    /// port where Pods look for it, and talks to the kubelet: only for a network namespace of one's own, as
    /// [`run_isolated`](crate::node::run_isolated) makes it.
    pub node_address: Option<Ipv4Addr>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            controller_manager: true,
            durable: false,
            audit_log: false,
            api_server_flags: Vec::new(),
            node_address: None,
        }
    }
}

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There are no programs to start.
    #[error("the programs of the control plane are not available")]
    Binaries(#[from] BinariesError),
    /// Files or processes could not be made.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Keys or certificates could not be made.
    #[error("certificates could not be generated")]
    Certificates(#[from] rcgen::Error),
    /// The administrator's identity could not be made.
    #[error("no access to the control plane")]
    Access(#[from] AccessError),
    /// A component ended while it was waited for.
    #[error("{component} ended with {status} while it started; its log ends with:\n{log}")]
    Ended {
        /// Which one.
        component: Component,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// A component runs but does not get ready.
    #[error("{component} is not ready after {} s ({answer}); its log ends with:\n{log}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// Which one.
        component: Component,
        /// The last answer to the question whether it is ready.
        answer: String,
        /// The last lines of its log.
        log: String,
    },
    /// No free port was found.
    #[error("no free port between {} and {}", PORTS.start, PORTS.end)]
    NoFreePort,
}

impl StartError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
        let doing = doing.into();
        move |source| StartError::Io { doing, source }
    }

    fn is_taken_port(&self) -> bool {
        match self {
            StartError::Ended { log, .. } => log.contains("address already in use"),
            StartError::Binaries(_)
            | StartError::Io { .. }
            | StartError::Certificates(_)
            | StartError::Access(_)
            | StartError::NotReady { .. }
            | StartError::NoFreePort => false,
        }
    }
}

/// A running control plane on loopback.
///
/// Everything ends, and its files are removed, when it is dropped, and also when the owning process panics, exits, is
/// interrupted or killed: each component has a supervisor that notices. It belongs to no tokio runtime.
pub struct ControlPlane {
    // Fields are dropped in this order: the processes end before their files are removed.
    controller_manager: Option<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
    authority: Authority,
    admin: Access,
    controller_manager_access: Access,
    endpoint: Endpoint,
    ports: Ports,
    binaries: Binaries,
    options: Options,
    files: Files,
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ControlPlane")
            .field("server", &self.endpoint.uri)
            .field("directory", &self.directory())
            .field("processes", &self.process_ids())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controller_manager: u16,
}

impl ControlPlane {
    /// Starts a control plane and waits until it works. This takes a few seconds, and minutes the very first time on
    /// a machine, when the programs have to be built (see [`Sources`]).
    ///
    /// # Errors
    ///
    /// If the programs are not available, or one does not start; the error holds the end of its log.
    pub async fn start(options: Options) -> Result<ControlPlane, StartError> {
        // A second installation is refused, and is what we want already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let needed = match options.controller_manager {
            true => Component::ALL.to_vec(),
            false => vec![Component::Etcd, Component::ApiServer],
        };
        let binaries =
            tokio::task::spawn_blocking(move || Sources::from_environment()?.provide(&needed))
                .await
                .map_err(|panic| StartError::Io {
                    doing: "preparing the programs of the control plane".to_owned(),
                    source: io::Error::other(panic),
                })??;

        let mut attempts = 1;
        loop {
            let mut control_plane = ControlPlane::prepare(binaries.clone(), options.clone())?;
            match control_plane.start_all().await {
                Ok(()) => return Ok(control_plane),
                Err(error) if error.is_taken_port() && attempts < PORT_ATTEMPTS => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(binaries: Binaries, options: Options) -> Result<ControlPlane, StartError> {
        let mut ports = Ports::choose()?;
        if options.node_address.is_some() {
            ports.api_server = SERVICE_PORT;
        }
        let authority = Authority::generate()?;
        let files = Files::create(&authority)?;
        let uri = http::Uri::try_from(format!("https://127.0.0.1:{}", ports.api_server)).map_err(
            |source| StartError::Io {
                doing: "naming the API server".to_owned(),
                source: io::Error::other(source),
            },
        )?;
        let endpoint = Endpoint {
            uri,
            authority_der: authority.certificate_der(),
            authority_pem: authority.certificate_pem(),
            directory: files.directory.path().to_owned(),
        };
        let access = |user: &str, group| -> Result<Access, StartError> {
            let identity = authority.client(user, group)?;
            Ok(Access::by_certificate(&endpoint, user, &identity)?)
        };
        let admin = access(ADMIN_USER, Some("system:masters"))?;
        let controller_manager_access = access(CONTROLLER_MANAGER_USER, None)?;
        Ok(ControlPlane {
            controller_manager: None,
            api_server: None,
            etcd: None,
            authority,
            admin,
            controller_manager_access,
            endpoint,
            ports,
            binaries,
            options,
            files,
        })
    }

    async fn start_all(&mut self) -> Result<(), StartError> {
        self.start_component(Component::Etcd).await?;
        self.start_component(Component::ApiServer).await?;
        if self.options.controller_manager {
            self.start_component(Component::ControllerManager).await?;
        }
        Ok(())
    }

    /// Access as a member of `system:masters`, whom RBAC does not apply to.
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// Access as a user of that name and at most one group, by client certificate. Without bindings it may do nothing.
    ///
    /// # Errors
    ///
    /// If the name does not fit into a certificate.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<Access, AccessError> {
        let identity = self.authority.client(name, group)?;
        Access::by_certificate(&self.endpoint, name, &identity)
    }

    /// Access as a service account that exists.
    ///
    /// # Errors
    ///
    /// If there is no such service account.
    pub async fn service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Access, AccessError> {
        self.admin.service_account(namespace, name).await
    }

    /// Creates a namespace called `PREFIX-RANDOM`, for one test.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace, kube::Error> {
        Namespace::create(&self.admin, prefix).await
    }

    /// The requests that the API server is asked from now on.
    ///
    /// # Errors
    ///
    /// If the control plane was started without [`Options::audit_log`].
    pub fn audit_log(&self) -> Result<AuditLog, AuditError> {
        if !self.options.audit_log {
            return Err(AuditError::Off);
        }
        AuditLog::from_now(self.files.audit_log())
    }

    /// Stops a component in order, and kills it if it needs more than a second. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// If its end could not be waited for.
    pub async fn stop_component(&mut self, component: Component) -> io::Result<()> {
        match self.process(component).take() {
            Some(process) => process.stop(STOP_GRACE).await,
            None => Ok(()),
        }
    }

    /// Starts a component that was stopped, on the same ports and data, and waits until it is ready. Does nothing if it
    /// was not stopped.
    ///
    /// # Errors
    ///
    /// If it does not get ready.
    pub async fn start_component(&mut self, component: Component) -> Result<(), StartError> {
        if self.process(component).is_some() {
            return Ok(());
        }
        let process = Process::spawn(
            component.binary(),
            &self.binaries.path(component),
            self.arguments(component),
            self.files.directory.path(),
        )
        .map_err(StartError::io(format!("starting {component}")))?;
        let process = self.process(component).insert(process);
        let id = process.id();
        tracing::debug!(%component, id, "started");
        self.wait_until_ready(component).await
    }

    /// Stops a component and starts it again.
    ///
    /// # Errors
    ///
    /// If it does not get ready again.
    pub async fn restart_component(&mut self, component: Component) -> Result<(), StartError> {
        self.stop_component(component)
            .await
            .map_err(StartError::io(format!("stopping {component}")))?;
        self.start_component(component).await
    }

    /// Writes a snapshot of the store to `file`, while everything runs.
    ///
    /// # Errors
    ///
    /// If etcd does not answer, or the file cannot be written.
    pub async fn save(&self, file: &Path) -> Result<(), SnapshotError> {
        snapshot::save(&self.etcd_endpoint(), file).await
    }

    /// Goes back to the snapshot in `file`: everything is stopped, the store is replaced and everything is started again.
    /// The first time on a machine this builds etcdutl, which takes about a minute.
    ///
    /// # Errors
    ///
    /// If there is no etcdutl, the file holds no snapshot, or a component does not start again.
    pub async fn restore(&mut self, file: &Path) -> Result<(), SnapshotError> {
        for component in Component::ALL.into_iter().rev() {
            self.stop_component(component)
                .await
                .map_err(SnapshotError::io("stopping the control plane"))?;
        }
        let (file, data, peer) = (file.to_owned(), self.files.etcd_data(), self.peer_url());
        tokio::task::spawn_blocking(move || snapshot::restore(&file, &data, &peer))
            .await
            .map_err(io::Error::other)
            .map_err(SnapshotError::io("restoring the store"))??;
        Ok(self.start_all().await?)
    }

    /// The process ids of the components that run.
    pub fn process_ids(&self) -> Vec<(Component, u32)> {
        let id = |component, process: &Option<Process>| {
            process.as_ref().map(|process| (component, process.id()))
        };
        [
            id(Component::Etcd, &self.etcd),
            id(Component::ApiServer, &self.api_server),
            id(Component::ControllerManager, &self.controller_manager),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Where etcd listens, as `http://127.0.0.1:PORT`, without authentication.
    pub fn etcd_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd)
    }

    /// A certificate with which a server at `address` shows that it belongs to this control plane.
    pub(crate) fn server_identity(
        &self,
        name: &str,
        address: Ipv4Addr,
    ) -> Result<Identity, rcgen::Error> {
        self.authority.server(name, address)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd_peer)
    }

    /// Where etcd keeps its data. Change it only while etcd and the API server are stopped.
    pub fn etcd_data_directory(&self) -> PathBuf {
        self.files.etcd_data()
    }

    /// The directory of everything that belongs to the control plane, with the components' logs (`COMPONENT.log`). It is
    /// removed at the end.
    pub fn directory(&self) -> &Path {
        self.files.directory.path()
    }

    fn process(&mut self, component: Component) -> &mut Option<Process> {
        match component {
            Component::Etcd => &mut self.etcd,
            Component::ApiServer => &mut self.api_server,
            Component::ControllerManager => &mut self.controller_manager,
        }
    }

    fn arguments(&self, component: Component) -> Vec<String> {
        match component {
            Component::Etcd => self.etcd_arguments(),
            Component::ApiServer => self.api_server_arguments(),
            Component::ControllerManager => self.controller_manager_arguments(),
        }
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let client_url = self.etcd_endpoint();
        let peer_url = self.peer_url();
        let mut arguments = vec![
            format!("--data-dir={}", self.files.etcd_data().display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            "--heartbeat-interval=50".to_owned(),
            "--election-timeout=250".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        if !self.options.durable {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        arguments
    }

    fn api_server_arguments(&self) -> Vec<String> {
        let files = &self.files;
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_endpoint()),
            format!("--secure-port={}", self.ports.api_server),
            "--endpoint-reconciler-type=none".to_owned(),
            files.flag("tls-cert-file", SERVER_CERTIFICATE),
            files.flag("tls-private-key-file", SERVER_KEY),
            files.flag("client-ca-file", AUTHORITY_CERTIFICATE),
            "--authorization-mode=RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            files.flag("service-account-signing-key-file", SERVICE_ACCOUNT_KEY),
            files.flag("service-account-key-file", SERVICE_ACCOUNT_PUBLIC_KEY),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        ];
        match self.options.node_address {
            None => arguments.extend([
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
            ]),
            Some(node) => arguments.extend([
                "--bind-address=0.0.0.0".to_owned(),
                format!("--advertise-address={node}"),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                files.flag("kubelet-certificate-authority", AUTHORITY_CERTIFICATE),
                files.flag("kubelet-client-certificate", KUBELET_CLIENT_CERTIFICATE),
                files.flag("kubelet-client-key", KUBELET_CLIENT_KEY),
            ]),
        }
        if self.options.audit_log {
            arguments.extend([
                files.flag("audit-policy-file", AUDIT_POLICY),
                files.flag("audit-log-path", AUDIT_LOG),
                // Logged before it is answered, so that who has an answer finds its record.
                "--audit-log-mode=blocking".to_owned(),
                // Never rotated: the file is read from an offset.
                "--audit-log-maxsize=0".to_owned(),
            ]);
        }
        arguments.extend(self.options.api_server_flags.iter().cloned());
        arguments
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        let files = &self.files;
        let kubeconfig = self.controller_manager_access.kubeconfig().display();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.controller_manager),
            "--leader-elect=false".to_owned(),
            // Else it acts as its own user, whom RBAC forbids nearly everything.
            "--use-service-account-credentials=true".to_owned(),
            files.flag("service-account-private-key-file", SERVICE_ACCOUNT_KEY),
            files.flag("root-ca-file", AUTHORITY_CERTIFICATE),
            format!("--controllers={CONTROLLERS}"),
        ]
    }

    async fn wait_until_ready(&mut self, component: Component) -> Result<(), StartError> {
        let probe = Probe::new(component, self.ports, &self.admin)?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let answer = probe.ask().await;
            let Some(process) = self.process(component) else {
                return Ok(());
            };
            // First of all: the answer may be another process's, on a port that ours did not get.
            let ended = process
                .exit_status()
                .map_err(StartError::io(format!("watching {component}")))?;
            let log = || process.log_tail();
            match (ended, answer) {
                (Some(status), _) => {
                    let error = StartError::Ended {
                        component,
                        status,
                        log: log(),
                    };
                    *self.process(component) = None;
                    return Err(error);
                }
                (None, Ok(())) => return Ok(()),
                (None, Err(answer)) if Instant::now() >= deadline => {
                    return Err(StartError::NotReady {
                        component,
                        answer,
                        log: log(),
                    });
                }
                (None, Err(_)) => sleep(POLL_INTERVAL).await,
            }
        }
    }
}

/// The question whether a component is ready.
enum Probe {
    /// It accepts connections.
    Connection(u16),
    /// It says so.
    Readyz(Client),
    /// It has done something: created the default service account.
    DefaultServiceAccount(u16, Client),
}

impl Probe {
    fn new(component: Component, ports: Ports, admin: &Access) -> Result<Probe, StartError> {
        Ok(match component {
            Component::Etcd => Probe::Connection(ports.etcd),
            Component::ApiServer => Probe::Readyz(admin.client()?),
            Component::ControllerManager => {
                Probe::DefaultServiceAccount(ports.controller_manager, admin.client()?)
            }
        })
    }

    /// `Err` holds the reason why not.
    async fn ask(&self) -> Result<(), String> {
        let answer = async {
            match self {
                Probe::Connection(port) => connect(*port).await,
                Probe::Readyz(client) => readyz(client).await,
                Probe::DefaultServiceAccount(port, client) => {
                    connect(*port).await?;
                    Api::<ServiceAccount>::default_namespaced(client.clone())
                        .get("default")
                        .await
                        .map(|_| ())
                        .map_err(|error| error.to_string())
                }
            }
        };
        timeout(Duration::from_secs(5), answer)
            .await
            .unwrap_or_else(|_| Err("no answer within 5 s".to_owned()))
    }
}

async fn connect(port: u16) -> Result<(), String> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

async fn readyz(client: &Client) -> Result<(), String> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    client
        .request_text(request)
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

impl Ports {
    fn choose() -> Result<Ports, StartError> {
        // Held until all are chosen, so that they differ.
        let mut listeners = Vec::new();
        let mut next = || -> Result<u16, StartError> {
            let (port, listener) = free_port()?;
            listeners.push(listener);
            Ok(port)
        };
        Ok(Ports {
            etcd: next()?,
            etcd_peer: next()?,
            api_server: next()?,
            controller_manager: next()?,
        })
    }
}

fn free_port() -> Result<(u16, TcpListener), StartError> {
    let random = RandomState::new();
    (0..1000_u32)
        .find_map(|attempt| {
            let offset = random.hash_one(attempt) % u64::from(PORTS.end - PORTS.start);
            let port = PORTS.start + u16::try_from(offset).ok()?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            Some((port, listener))
        })
        .ok_or(StartError::NoFreePort)
}

pub(crate) const AUTHORITY_CERTIFICATE: &str = "ca.crt";
const SERVER_CERTIFICATE: &str = "server.crt";
const SERVER_KEY: &str = "server.key";
const KUBELET_CLIENT_CERTIFICATE: &str = "kubelet-client.crt";
const KUBELET_CLIENT_KEY: &str = "kubelet-client.key";
const SERVICE_ACCOUNT_KEY: &str = "service-account.key";
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "service-account.pub";
const AUDIT_POLICY: &str = "audit-policy.yaml";
const AUDIT_LOG: &str = "audit.log";

/// The temporary directory of a control plane (readable by its owner only) and what is in it.
#[derive(Debug)]
struct Files {
    directory: TempDir,
}

impl Files {
    fn create(authority: &Authority) -> Result<Files, StartError> {
        let directory = tempfile::Builder::new()
            .prefix("codeagent-control-plane-")
            .tempdir()
            .map_err(StartError::io("creating a temporary directory"))?;
        let files = Files { directory };
        let server = authority.server("kube-apiserver", SERVICE_ADDRESS)?;
        let kubelet_client =
            authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
        let (key, public_key) = certificates::service_account_keys()?;
        for (name, content) in [
            (AUTHORITY_CERTIFICATE, authority.certificate_pem()),
            (SERVER_CERTIFICATE, server.certificate),
            (SERVER_KEY, server.key),
            (KUBELET_CLIENT_CERTIFICATE, kubelet_client.certificate),
            (KUBELET_CLIENT_KEY, kubelet_client.key),
            (SERVICE_ACCOUNT_KEY, key),
            (SERVICE_ACCOUNT_PUBLIC_KEY, public_key),
            (AUDIT_POLICY, audit::POLICY.to_owned()),
            (AUDIT_LOG, String::new()),
        ] {
            let path = files.path(name);
            fs::write(&path, content)
                .map_err(StartError::io(format!("writing {}", path.display())))?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn etcd_data(&self) -> PathBuf {
        self.path("etcd-data")
    }

    fn audit_log(&self) -> PathBuf {
        self.path(AUDIT_LOG)
    }

    fn flag(&self, flag: &str, name: &str) -> String {
        format!("--{flag}={}", self.path(name).display())
    }
}
