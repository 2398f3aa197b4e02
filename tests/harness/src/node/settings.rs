//! The configuration of containerd, the Pod network and the kubelet.

use std::{net::Ipv4Addr, path::Path};

use serde_json::{Value, json};

use super::isolation::NETWORK_PLUGINS;
use crate::control_plane::AUTHORITY_CERTIFICATE;

// What has sockets in it needs short paths. /run is the namespaces' own.
const CONTAINERD_STATE: &str = "/run/containerd";
pub(super) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
pub(super) const KUBELET_ROOT: &str = "/run/kubelet";

/// The image of the process that holds a Pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "node.invalid/pause:1";

/// containerd's configuration. `root` is where images and containers are kept, `network` the directory with the Pod network.
pub(super) fn containerd(root: &Path, network: &Path) -> String {
    let (root, network) = (root.display(), network.display());
    format!(
        r#"version = 2
root = "{root}"
state = "{CONTAINERD_STATE}"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  # Else runc dies where it may not lower these scores: "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{NETWORK_PLUGINS}"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}

/// A network whose Pods reach each other and the node. NetworkPolicies have no effect in it.
pub(super) fn pod_network() -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.244.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/cni",
            },
        }],
    })
}

/// The kubelet's configuration.
pub(super) fn kubelet(
    address: Ipv4Addr,
    directory: &Path,
    certificate: &Path,
    key: &Path,
) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Never loopback: the API server refuses to go there.
        "address": address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": directory.join(AUTHORITY_CERTIFICATE)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": certificate,
        "tlsPrivateKeyFile": key,
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        // Groups of version 1, without a hierarchy of the kubelet's own: the node has no service manager.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        "failSwapOn": false,
        // How full the machine's disk is says nothing about the node.
        "evictionHard": {
            "imagefs.available": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    })
}
