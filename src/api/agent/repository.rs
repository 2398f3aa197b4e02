//! The rules over the address of a repository and the name of a branch: each says what to write instead.

use serde_json::{Value, json};

/// What people copy from a browser or a `git clone`, and what a provider does not take.
pub(in crate::api) fn url_rules() -> Value {
    json!([
        {
            "rule": "!self.startsWith('http://')",
            "message": "the address begins with http://: write https:// instead"
        },
        {
            "rule": "!self.matches('^(ssh|git|git[+]ssh)://') && !self.matches('^[^/:@]+@[^/:@]+:')",
            "message": "this is an address for git over ssh: write the https address instead, https://github.com/acme/app for git@github.com:acme/app.git"
        },
        {
            "rule": "!self.matches('^https?://[^/]*@')",
            "message": "the address names a user: remove everything up to the @, so that https://acme@dev.azure.com/acme/Shop/_git/web becomes https://dev.azure.com/acme/Shop/_git/web. A key belongs in the Secret"
        },
        {
            "rule": "!self.contains('?') && !self.contains('#')",
            "message": "the address has a query or a fragment: remove everything from the ? or # on"
        },
        {
            "rule": "!self.matches('^https?://[^/]+/.+/(tree|blob|pull|commit)/.') && !self.contains('/-/')",
            "message": "this is the address of a page within the repository: end it at the repository, as in https://github.com/acme/app, and put a branch or commit into ref, a pull request into pullRequestURL"
        },
        {
            "rule": "self.matches('^(https?|ssh|git|git[+]ssh)://[^ \\t\\r\\n]+$') || self.matches('^[^/:@]+@[^/:@]+:')",
            "message": "write the https address of the repository, such as https://github.com/acme/app, without spaces"
        }
    ])
}

/// The address of a pull request as GitHub writes it, and nothing behind its number.
pub(in crate::api) fn pull_request_rules() -> Value {
    json!([{
        "rule": "self.matches('^https://[-a-zA-Z0-9.]+(:[0-9]+)?/[-a-zA-Z0-9._]+/[-a-zA-Z0-9._]+/pull/[1-9][0-9]{0,9}$')",
        "message": "write the https address of a pull request at GitHub and nothing behind its number, as in https://github.com/acme/app/pull/42"
    }])
}

/// The name of a branch, with at most one kind of placeholder.
pub(in crate::api) fn branch_rules() -> Value {
    json!([{
        "rule": "self.matches('^([^ \\t\\r\\n{}]|[{]session[}])+$')",
        "message": "write the name of a branch without spaces; the only placeholder is {session}, the name of the CodeSession, as in agent/{session}"
    }])
}
