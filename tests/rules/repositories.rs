//! Addresses as people copy them: what is refused is refused with a sentence that says what to write instead.

use serde_json::{Value, json};

use crate::cluster::Expected::{Accepted, Refused};
use crate::cluster::{Kind, Verdicts, create, namespace, yaml};

/// The least spec of a kind, on this repository.
fn on(kind: Kind, repository: &Value) -> Value {
    let mut spec = match kind {
        Kind::Agent => yaml("{provider: {cursor: {}}, credentials: {secretRef: {name: key}}}"),
        Kind::Session => yaml("{agentRef: {name: agent}, prompt: Fix the bug}"),
    };
    spec["repository"] = repository.clone();
    spec
}

#[tokio::test]
async fn an_address_copied_from_elsewhere_is_refused_with_the_one_to_write() {
    let namespace = namespace("repositories").await;
    let ssh = Refused("git over ssh: write the https address instead, https://github.com/acme/app");
    let user = Refused("the address names a user: remove everything up to the @");
    let page = Refused("the address of a page within the repository: end it at the repository");
    let cases = [
        ("https://github.com/acme/app", Accepted),
        ("https://github.com/acme/app.git", Accepted),
        ("https://gitlab.com/acme/team/tools/app", Accepted),
        ("https://dev.azure.com/acme/Shop/_git/web", Accepted),
        ("https://git.acme.com:8443/app", Accepted),
        // Repositories and groups with names like these exist.
        ("https://github.com/acme/tree", Accepted),
        ("https://github.com/tree/app", Accepted),
        (
            "http://github.com/acme/app",
            Refused("write https:// instead"),
        ),
        ("git@github.com:acme/app.git", ssh),
        ("org-1234@github.com:acme/app.git", ssh),
        ("ssh://git@github.com/acme/app.git", ssh),
        ("git://github.com/acme/app.git", ssh),
        ("https://acme@dev.azure.com/acme/Shop/_git/web", user),
        ("https://token:x@github.com/acme/app", user),
        (
            "https://github.com/acme/app?tab=readme",
            Refused("remove everything from the ? or # on"),
        ),
        (
            "https://github.com/acme/app#usage",
            Refused("remove everything from the ? or # on"),
        ),
        ("https://github.com/acme/app/tree/main", page),
        ("https://github.com/acme/app/pull/12", page),
        ("https://github.com/acme/app/blob/main/README.md", page),
        ("https://github.com/acme/app/commit/0123abc", page),
        ("https://gitlab.com/acme/app/-/merge_requests/3", page),
        (
            "github.com/acme/app",
            Refused("write the https address of the repository"),
        ),
        (
            "acme/app",
            Refused("write the https address of the repository"),
        ),
        ("https://github.com/acme/my app", Refused("without spaces")),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (url, expected)) in cases.into_iter().enumerate() {
        let repository = json!({"url": url});
        for kind in [Kind::Agent, Kind::Session] {
            let spec = on(kind, &repository);
            let result = create(&namespace, kind, &format!("case-{index}"), &spec).await;
            verdicts.check(&format!("{kind:?}: {url}"), expected, &result);
            if let (Refused(_), Err(message)) = (expected, &result) {
                let sentences = message.matches("spec.repository.url").count();
                assert_eq!(sentences, 1, "one mistake, one sentence: {message}");
            }
        }
    }
}

#[tokio::test]
async fn a_pull_request_to_start_from_is_one_of_github_and_excludes_a_branch() {
    let namespace = namespace("pull-requests").await;
    let written = Refused("nothing behind its number, as in https://github.com/acme/app/pull/42");
    let url = |url: &str| json!({"pullRequestURL": url});
    let cases = [
        (url("https://github.com/acme/app/pull/42"), Accepted),
        (
            url("https://git.acme.com:8443/acme/app.js/pull/1"),
            Accepted,
        ),
        (
            json!({"url": "https://github.com/acme/app", "pullRequestURL": "https://github.com/acme/app/pull/42"}),
            Accepted,
        ),
        (
            json!({"ref": "main", "pullRequestURL": "https://github.com/acme/app/pull/42"}),
            Refused("ref and pullRequestURL exclude each other"),
        ),
        (url("http://github.com/acme/app/pull/42"), written),
        (url("https://github.com/acme/app"), written),
        (url("https://github.com/acme/app/pull/42/files"), written),
        (url("https://github.com/acme/app/pull/42?w=1"), written),
        (
            url("https://github.com/acme/app/pull/42#discussion"),
            written,
        ),
        (url("https://github.com/acme/app/pull/0"), written),
        (url("https://github.com/acme/app/issues/42"), written),
        (url("https://me@github.com/acme/app/pull/42"), written),
        (
            url("https://gitlab.com/acme/app/-/merge_requests/42"),
            written,
        ),
        (url("acme/app#42"), written),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (repository, expected)) in cases.into_iter().enumerate() {
        for kind in [Kind::Agent, Kind::Session] {
            let spec = on(kind, &repository);
            let result = create(&namespace, kind, &format!("case-{index}"), &spec).await;
            verdicts.check(&format!("{kind:?}: {repository}"), expected, &result);
        }
    }
}
