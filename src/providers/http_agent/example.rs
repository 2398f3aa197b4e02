//! A mapping that has a place for everything that one can have: what HTTP agents can do at most.

use serde_json::json;

use crate::api::ProviderSpec;

/// Settings with such a mapping.
#[expect(clippy::expect_used, reason = "a constant that a test reads")]
pub(super) fn whole() -> ProviderSpec {
    let field = |path: &str| json!({ "path": path });
    serde_json::from_value(json!({"http": {
        "endpoint": "https://agents.example.com",
        "launch": {
            "path": "/v1/sessions",
            "body": {
                "prompt": "{prompt}", "title": "{name}", "model": "{model}", "repository": "{repository}", "ref": "{ref}",
                "pull_request": "{pullRequestURL}", "branch": "{branchName}", "open_pull_request": "{autoCreatePullRequest}",
            },
        },
        "get": {"path": "/v1/sessions/{sessionId}"},
        "list": {
            "path": "/v1/sessions",
            "query": {"limit": "100", "after": "{page}"},
            "items": "items",
            "next": "next",
        },
        "conversation": {
            "path": "/v1/sessions/{sessionId}/messages",
            "items": "items", "text": "text", "by": "by", "user": "user", "agent": "agent",
        },
        "message": {"path": "/v1/sessions/{sessionId}/messages", "body": {"text": "{message}"}, "taken": "id"},
        "cancel": {"path": "/v1/sessions/{sessionId}/cancel"},
        "archive": {"path": "/v1/sessions/{sessionId}/archive"},
        "session": {
            "id": field("id"),
            "phase": field("phase"),
            "url": field("url"), "repository": field("repository"), "branch": field("branch"),
            "pullRequest": field("pull_request"), "result": field("result"), "error": field("error"), "createdAt": field("created_at"),
            "inputTokens": field("usage.input"), "outputTokens": field("usage.output"), "costCents": field("usage.cents"),
        },
    }}))
    .expect("a mapping as a manifest has it")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::mapping::Mapping;

    #[test]
    fn it_can_be_used() {
        Mapping::new(whole().http.as_ref().unwrap()).unwrap();
    }
}
