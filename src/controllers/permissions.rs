//! What the operator asks of the API server: the one list that the chart's roles, `codeagent-operator check` and the tests are held to.

use k8s_openapi::api::authorization::v1::ResourceAttributes;

/// Where a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In every namespace that is served.
    Served,
    /// On the Namespace objects of those that are served.
    ServedNamespace,
    /// In the operator's own namespace.
    Own,
    /// On the operator's Lease, in its own namespace.
    OwnLease,
}

/// One thing that the operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The verb.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, in the plural.
    pub resource: &'static str,
    /// The subresource; empty for the object itself.
    pub subresource: &'static str,
    /// Where.
    pub place: Place,
}

const OURS: &str = "codeagents.dev";
const LEASES: &str = "coordination.k8s.io";
const EVENTS: &str = "events.k8s.io";
const JOBS: &str = "batch";

const fn served(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
) -> Permission {
    Permission {
        verb,
        group,
        resource,
        subresource,
        place: Place::Served,
    }
}

const fn lease(verb: &'static str, place: Place) -> Permission {
    Permission {
        verb,
        group: LEASES,
        resource: "leases",
        subresource: "",
        place,
    }
}

/// Everything that the operator does with the API server. Secrets and ConfigMaps are read by name, never listed.
pub const PERMISSIONS: &[Permission] = &[
    served("get", OURS, "codeagents", ""),
    served("list", OURS, "codeagents", ""),
    served("watch", OURS, "codeagents", ""),
    // The finalizer of those that have a template at their provider.
    served("patch", OURS, "codeagents", ""),
    served("patch", OURS, "codeagents", "status"),
    served("get", OURS, "codesessions", ""),
    served("list", OURS, "codesessions", ""),
    served("watch", OURS, "codesessions", ""),
    // The finalizer.
    served("patch", OURS, "codesessions", ""),
    // ttlSecondsAfterFinished.
    served("delete", OURS, "codesessions", ""),
    served("patch", OURS, "codesessions", "status"),
    served("get", "", "secrets", ""),
    served("get", "", "configmaps", ""),
    served("create", EVENTS, "events", ""),
    // Its uid is part of every launch key.
    Permission {
        place: Place::ServedNamespace,
        ..served("get", "", "namespaces", "")
    },
    // A create cannot be limited to a name.
    lease("create", Place::Own),
    lease("get", Place::OwnLease),
    lease("list", Place::OwnLease),
    lease("watch", Place::OwnLease),
    lease("patch", Place::OwnLease),
];

/// What the operator does besides where it runs agents as Jobs (`--jobs`).
pub const JOB_PERMISSIONS: &[Permission] = &[
    served("create", JOBS, "jobs", ""),
    served("get", JOBS, "jobs", ""),
    // A stop suspends the Job; one that is over is given to its session.
    served("patch", JOBS, "jobs", ""),
    served("delete", JOBS, "jobs", ""),
    served("list", "", "pods", ""),
    // The Secret with a Job's task.
    served("create", "", "secrets", ""),
    served("patch", "", "secrets", ""),
    served("delete", "", "secrets", ""),
];

/// The questions whether an operator may do all of it, with `jobs` also what running agents as Jobs needs.
///
/// `served` are the namespaces that it serves, `None` for all of them; `own` is its own namespace and the name of its Lease.
pub fn questions(
    served: &[Option<String>],
    own: (&str, &str),
    jobs: bool,
) -> Vec<ResourceAttributes> {
    let mut questions = Vec::new();
    let more = if jobs { JOB_PERMISSIONS } else { &[] };
    for permission in PERMISSIONS.iter().chain(more) {
        let question = |namespace: Option<&str>, name: Option<&str>| ResourceAttributes {
            verb: Some(permission.verb.to_owned()),
            group: Some(permission.group.to_owned()),
            resource: Some(permission.resource.to_owned()),
            subresource: Some(permission.subresource.to_owned()).filter(|it| !it.is_empty()),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        match permission.place {
            Place::Own => questions.push(question(Some(own.0), None)),
            Place::OwnLease => questions.push(question(Some(own.0), Some(own.1))),
            Place::Served => {
                questions.extend(served.iter().map(|it| question(it.as_deref(), None)));
            }
            // A Role may grant its own namespace: the object counts as within itself.
            Place::ServedNamespace => {
                questions.extend(
                    served
                        .iter()
                        .map(|it| question(it.as_deref(), it.as_deref())),
                );
            }
        }
    }
    questions
}
