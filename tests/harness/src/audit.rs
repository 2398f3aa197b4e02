//! What the API server was asked, by whom: its audit log, read back.
//!
//! Only what tests ask about is logged ([`POLICY`]), and none of the control plane's own requests.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::Deserialize;

/// The audit policy. A watch has not completed while it goes on, so its start counts; the reception of a
/// request never does.
pub(crate) const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: ["system:apiserver", "system:kube-controller-manager"]
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: Metadata
    resources:
      - group: codeagents.dev
      - group: ""
        resources: ["secrets", "configmaps", "events"]
      - group: events.k8s.io
      - group: coordination.k8s.io
        resources: ["leases"]
  - level: Metadata
    verbs: ["get"]
    resources:
      - group: ""
        resources: ["namespaces"]
  # Of the service accounts of tests everything, so that a request that nobody expects shows.
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
  - level: None
"#;

/// Why the audit log could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The control plane was started without one.
    #[error(
        "this control plane keeps no audit log: start it with `Options {{ audit_log: true, .. }}`"
    )]
    Off,
    /// The file could not be read.
    #[error("the audit log {} could not be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A line is no audit event.
    #[error("the audit log holds a line that is no audit event")]
    Malformed(#[from] serde_json::Error),
}

/// What was asked of the API server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// One object was read.
    Get,
    /// Many objects were read.
    List,
    /// Changes were subscribed to.
    Watch,
    /// An object was created.
    Create,
    /// An object was replaced.
    Update,
    /// An object was patched or applied.
    Patch,
    /// An object was deleted.
    Delete,
    /// Many objects were deleted.
    DeleteCollection,
    /// Anything else, such as the verbs of proxied requests.
    #[serde(untagged)]
    Other(String),
}

impl Verb {
    /// Whether the verb changes objects. (An unknown one is taken to.)
    pub fn is_write(&self) -> bool {
        match self {
            Verb::Get | Verb::List | Verb::Watch => false,
            Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::DeleteCollection
            | Verb::Other(_) => true,
        }
    }
}

/// One request that the API server has answered; of a watch, that it began.
///
/// What a request does not have is empty: the namespace of a cluster-wide list, the name of any list, the
/// subresource of most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedRequest {
    /// Who asked, for example `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// What for.
    pub verb: Verb,
    /// The API group, for example `codeagents.dev`; empty for the core group.
    pub group: String,
    /// Plural and lower case, for example `codesessions`. Empty for what is no resource, such as the version.
    pub resource: String,
    /// For example `status`.
    pub subresource: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// When the request came in.
    pub received: Timestamp,
}

/// The audit log from the moment on at which this view was taken.
///
/// An answer is logged before the client has read all of it, except that the last part of one larger than a few
/// KiB can arrive a moment earlier. Who counts lists should therefore ask twice.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    start: u64,
}

impl AuditLog {
    pub(crate) fn from_now(path: PathBuf) -> Result<AuditLog, AuditError> {
        match path.metadata() {
            Ok(metadata) => Ok(AuditLog {
                path,
                start: metadata.len(),
            }),
            Err(source) => Err(AuditError::Io { path, source }),
        }
    }

    /// The requests since the view was taken that `filter` accepts, in the order in which they were answered.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn requests(
        &self,
        filter: impl Fn(&AuditedRequest) -> bool,
    ) -> Result<Vec<AuditedRequest>, AuditError> {
        let io_error = |source| AuditError::Io {
            path: self.path.clone(),
            source,
        };
        let mut file = File::open(&self.path).map_err(io_error)?;
        file.seek(SeekFrom::Start(self.start)).map_err(io_error)?;
        let mut reader = BufReader::new(file);
        let mut requests = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            reader.read_line(&mut line).map_err(io_error)?;
            // The end, or a line that is being written.
            if !line.ends_with('\n') {
                return Ok(requests);
            }
            let event: Event = serde_json::from_str(&line)?;
            requests.extend(event.into_request().filter(&filter));
        }
    }
}

/// The part of `audit.k8s.io/v1` Event that is used here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: Stage,
    verb: Verb,
    user: User,
    #[serde(default)]
    object_ref: ObjectReference,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
}

#[derive(PartialEq, Eq, Deserialize)]
enum Stage {
    ResponseStarted,
    ResponseComplete,
    Panic,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
struct ObjectReference {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Event {
    /// None for the other event of a request that has two.
    fn into_request(self) -> Option<AuditedRequest> {
        let counts = match self.stage {
            // A watch has both, however early it ends; a refused one, too.
            Stage::ResponseStarted => self.verb == Verb::Watch,
            Stage::ResponseComplete => self.verb != Verb::Watch,
            Stage::Panic => true,
        };
        counts.then_some(AuditedRequest {
            user: self.user.username,
            verb: self.verb,
            group: self.object_ref.api_group,
            resource: self.object_ref.resource,
            subresource: self.object_ref.subresource,
            namespace: self.object_ref.namespace,
            name: self.object_ref.name,
            code: self.response_status.code,
            received: self.request_received_timestamp,
        })
    }
}
