//! Following a session's timeline: somebody who may, and the command.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

/// How long the operator may take to make its certificate.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the operator keeps its certificate.
const SECRET: &str = "codeagent-operator-timeline-tls";

/// A ServiceAccount that may read timelines, and nothing else.
pub const READER: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [codeagents.dev], resources: [codesessions/events], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
";

/// A port that nobody uses: the operator takes the same one whenever it is started again.
pub fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// Writes the authority of the operator's certificate to a file, once the operator has made it.
pub async fn write_authority(client: &Client, file: &Path) -> Result<(), Box<dyn Error>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let secret = secrets.get_opt(SECRET).await?;
        let authority = secret.and_then(|secret| secret.data?.remove("ca.crt"));
        if let Some(authority) = authority {
            return Ok(std::fs::write(file, authority.0)?);
        }
        if Instant::now() > deadline {
            return Err(format!("the operator has not made the Secret {SECRET}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What follows the timeline of the example session fix-login.
pub fn command(authority: &Path, port: u16) -> String {
    format!(
        "    curl -sN --cacert {} -H \"Authorization: Bearer $(kubectl create token reader)\" \\\n      \
         'https://localhost:{port}/v1alpha1/namespaces/default/codesessions/fix-login/events?follow=true'",
        authority.display()
    )
}
