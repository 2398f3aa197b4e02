//! The three programs a control plane consists of.

use std::fmt;

use crate::go_build::Program;

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

    /// What it is built from.
    pub(crate) fn program(self) -> Program {
        let (package, built_name) = match self {
            Component::Etcd => ("go.etcd.io/etcd/server/v3", "server"),
            Component::ApiServer => ("k8s.io/kubernetes/cmd/kube-apiserver", self.binary()),
            Component::ControllerManager => (
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                self.binary(),
            ),
        };
        Program {
            name: self.binary(),
            package,
            built_name,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.binary())
    }
}
