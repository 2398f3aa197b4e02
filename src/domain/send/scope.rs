//! Which launches a refusal concerns beside the one that it answers.

use super::refusal::{Own, verdict};
use crate::api::{CodeSessionSpec, Effective, MendedBy, ModelSpec, Reason, RepositorySpec};
use crate::domain::remote::{ProviderError, Subject};

/// What launches with one key have in common that all meet the same refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LaunchScope {
    /// The account: its quota or plan.
    Account,
    /// The repository, as it is written.
    Repository(String),
    /// A branch, tag or commit of a repository.
    Reference {
        /// The repository, as it is written.
        repository: String,
        /// The branch, tag or commit.
        reference: String,
    },
    /// A pull request, as it is written.
    PullRequest(String),
    /// A model with its parameters, as people read it.
    Model(String),
}

impl LaunchScope {
    /// Every scope of a launch with these settings, the widest first.
    pub fn of_settings(repository: &RepositorySpec, model: &ModelSpec) -> Vec<Self> {
        let mut scopes = vec![Self::Account, Self::Model(named(model))];
        if let Some(url) = &repository.url {
            scopes.push(Self::Repository(url.clone()));
            scopes.push(match &repository.pull_request_url {
                Some(pull_request) => Self::PullRequest(pull_request.clone()),
                None => reference_of(url, repository.reference.as_deref()),
            });
        }
        scopes
    }

    /// Every scope of a launch with what CodeAgent and session came to.
    pub fn of_launch(effective: &Effective) -> Vec<Self> {
        let repository = RepositorySpec {
            url: effective.repository.clone(),
            reference: effective.reference.clone(),
            pull_request_url: effective.pull_request_url.clone(),
        };
        Self::of_settings(&repository, &effective.model)
    }

    /// The scope of a refusal; `None` where it concerns the refused launch alone, as what the session itself set does.
    pub fn of_refusal(
        error: &ProviderError,
        spec: &CodeSessionSpec,
        effective: &Effective,
    ) -> Option<Self> {
        let repository = || effective.repository.clone();
        match (
            verdict(&Own::of_launch(spec, Some(effective)), error),
            error.subject,
        ) {
            ((Reason::QuotaExhausted, MendedBy::Others), _) => Some(Self::Account),
            ((Reason::ModelUnavailable, MendedBy::Others), _) => {
                Some(Self::Model(named(&effective.model)))
            }
            // Others on the repository start elsewhere.
            (_, Some(Subject::PullRequest)) => {
                effective.pull_request_url.clone().map(Self::PullRequest)
            }
            ((Reason::RepositoryInaccessible, MendedBy::Others), _) => {
                repository().map(Self::Repository)
            }
            ((Reason::SettingsRefused, MendedBy::Others), Some(Subject::Reference)) => {
                Some(reference_of(&repository()?, effective.reference.as_deref()))
            }
            _ => None,
        }
    }

    /// The reason that is given to the launches that wait.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Account => Reason::QuotaExhausted,
            Self::Repository(_) | Self::PullRequest(_) => Reason::RepositoryInaccessible,
            Self::Reference { .. } => Reason::SettingsRefused,
            Self::Model(_) => Reason::ModelUnavailable,
        }
    }

    /// What the launches that wait have in common, for people: "launches ...".
    pub fn described(&self) -> String {
        match self {
            Self::Account => "with this key".to_owned(),
            Self::Repository(repository) => format!("on {repository}"),
            Self::PullRequest(url) => format!("from {url}"),
            Self::Reference {
                repository,
                reference,
            } if reference.is_empty() => format!("on the default branch of {repository}"),
            Self::Reference {
                repository,
                reference,
            } => format!("on {reference} of {repository}"),
            Self::Model(model) => format!("with the model {model}"),
        }
    }
}

fn reference_of(repository: &str, reference: Option<&str>) -> LaunchScope {
    LaunchScope::Reference {
        repository: repository.to_owned(),
        reference: reference.unwrap_or_default().to_owned(),
    }
}

fn named(model: &ModelSpec) -> String {
    let params: Vec<String> = model
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match params.is_empty() {
        true => model.id.clone(),
        false => format!("{} ({})", model.id, params.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::remote::ErrorClass;

    fn effective() -> Effective {
        serde_json::from_value(json!({
            "provider": {"cursor": {}, "endpoint": "https://api.cursor.com"},
            "credentialsRef": {"name": "cursor", "key": "api-key"},
            "repository": "https://github.com/acme/app",
            "ref": "develop",
            "model": {"id": "gpt", "params": {"effort": "high"}},
            "pullRequest": {"autoCreate": true},
            "activeDeadlineSeconds": 7200,
            "deletionPolicy": "Cancel",
            "onUnknownLaunch": "Recover",
            "agentGeneration": 1
        }))
        .unwrap()
    }

    fn spec(own: Value) -> CodeSessionSpec {
        let mut spec = json!({"agentRef": {"name": "a"}, "prompt": "Fix it"});
        spec.as_object_mut()
            .unwrap()
            .extend(own.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn scope(class: ErrorClass, subject: Option<Subject>, own: Value) -> Option<LaunchScope> {
        let mut error = ProviderError::unsent(class, "no");
        error.subject = subject;
        let scope = LaunchScope::of_refusal(&error, &spec(own), &effective());
        let of_launch = LaunchScope::of_launch(&effective());
        assert!(
            scope.iter().all(|scope| of_launch.contains(scope)),
            "a refusal holds the launch that it answers: {scope:?}"
        );
        scope
    }

    #[test]
    fn a_refusal_concerns_those_that_share_what_it_is_about() {
        use ErrorClass::{InvalidRequest, QuotaExhausted, Unauthorized, Unavailable};
        use Subject::{Model, Reference, Repository};
        let described = |class, subject, own| {
            let scope: Option<LaunchScope> = scope(class, subject, own);
            scope.map(|scope| (scope.reason(), scope.described()))
        };
        let app = "https://github.com/acme/app";
        for (class, subject, own, what) in [
            (
                QuotaExhausted,
                None,
                json!({}),
                Some((Reason::QuotaExhausted, "with this key".to_owned())),
            ),
            (
                InvalidRequest,
                Some(Repository),
                json!({}),
                Some((Reason::RepositoryInaccessible, format!("on {app}"))),
            ),
            (
                InvalidRequest,
                Some(Reference),
                json!({}),
                Some((Reason::SettingsRefused, format!("on develop of {app}"))),
            ),
            (
                InvalidRequest,
                Some(Model),
                json!({}),
                Some((
                    Reason::ModelUnavailable,
                    "with the model gpt (effort=high)".to_owned(),
                )),
            ),
            // What the session itself set concerns nobody else.
            (
                InvalidRequest,
                Some(Model),
                json!({"model": {"id": "gpt"}}),
                None,
            ),
            (
                InvalidRequest,
                Some(Reference),
                json!({"repository": {"ref": "develop"}}),
                None,
            ),
            (InvalidRequest, None, json!({}), None),
            (Unauthorized, None, json!({}), None),
            (Unavailable, None, json!({}), None),
        ] {
            assert_eq!(
                described(class, subject, own.clone()),
                what,
                "{class:?} {subject:?} {own}"
            );
        }
    }

    #[test]
    fn a_pull_request_that_is_refused_holds_only_those_that_start_from_it() {
        let url = "https://github.com/acme/app/pull/42";
        let mut from_pull_request = effective();
        from_pull_request.reference = None;
        from_pull_request.pull_request_url = Some(url.to_owned());
        let mut error = ProviderError::unsent(ErrorClass::InvalidRequest, "cannot resolve it");
        error.subject = Some(Subject::PullRequest);
        let scope = LaunchScope::of_refusal(&error, &spec(json!({})), &from_pull_request).unwrap();
        assert_eq!(scope, LaunchScope::PullRequest(url.to_owned()));
        assert_eq!(scope.reason(), Reason::RepositoryInaccessible);
        assert!(LaunchScope::of_launch(&from_pull_request).contains(&scope));
        assert!(!LaunchScope::of_launch(&effective()).contains(&scope));
    }
}
