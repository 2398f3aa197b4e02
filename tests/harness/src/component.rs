//! The three programs a control plane consists of.

use std::fmt;

/// One program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// The store behind the API server.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`: garbage collection, deletion of namespaces, default service accounts, Jobs.
    ControllerManager,
}

impl Component {
    /// All of them, in the order in which they are started.
    pub const ALL: [Component; 3] = [
        Component::Etcd,
        Component::ApiServer,
        Component::ControllerManager,
    ];

    /// The file name of the program.
    pub fn binary(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
        }
    }

    /// The Go package that the program is built from.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Component::Etcd => "go.etcd.io/etcd/server/v3",
            Component::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Component::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
        }
    }

    /// The file name that `go build -o DIRECTORY/` gives the program: the package's last path element
    /// that is not a major version.
    pub(crate) fn built_name(self) -> &'static str {
        match self {
            Component::Etcd => "server",
            Component::ApiServer | Component::ControllerManager => self.binary(),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.binary())
    }
}
