//! Asking the API server what this process may do.

use std::fmt::Write;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

/// Whether this process may do that. Everybody may ask.
///
/// # Errors
/// If the API server does not answer.
pub async fn is_allowed(
    client: &Client,
    question: &ResourceAttributes,
) -> Result<bool, kube::Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(question.clone()),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The question in words: `patch codesessions.codeagents.dev/status in namespace team-a`.
pub fn describe(question: &ResourceAttributes) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let mut words = format!("{} {}", part(&question.verb), part(&question.resource));
    // Writing to a String cannot fail.
    let mut add = |prefix: &str, part: &Option<String>, suffix: &str| {
        if let Some(part) = part.as_deref().filter(|it| !it.is_empty()) {
            let _ = write!(words, "{prefix}{part}{suffix}");
        }
    };
    add(".", &question.group, "");
    add("/", &question.subresource, "");
    add(" \"", &question.name, "\"");
    match question.namespace {
        Some(_) => add(" in namespace ", &question.namespace, ""),
        None => words.push_str(" in all namespaces"),
    }
    words
}
