//! Which launches a refusal concerns beside the one that it answers.

use super::refusal::{Own, verdict};
use crate::api::{CodeSessionSpec, Effective, MendedBy, ModelSpec, Reason};
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
    /// A model with its parameters, as people read it.
    Model(String),
}

impl LaunchScope {
    /// Every scope of a launch with these settings, the widest first.
    pub fn of_settings(
        repository: Option<&str>,
        reference: Option<&str>,
        model: &ModelSpec,
    ) -> Vec<Self> {
        let mut scopes = vec![Self::Account, Self::Model(named(model))];
        if let Some(repository) = repository {
            scopes.push(Self::Repository(repository.to_owned()));
            scopes.push(reference_of(repository, reference));
        }
        scopes
    }

    /// Every scope of a launch with what CodeAgent and session came to.
    pub fn of_launch(effective: &Effective) -> Vec<Self> {
        let Effective {
            repository,
            reference,
            model,
            ..
        } = effective;
        Self::of_settings(repository.as_deref(), reference.as_deref(), model)
    }

    /// The scope of a refusal; `None` where it concerns the refused launch alone, as what the session itself set does.
    pub fn of_refusal(
        error: &ProviderError,
        spec: &CodeSessionSpec,
        effective: &Effective,
    ) -> Option<Self> {
        let repository = || effective.repository.clone();
        match (
            verdict(&Own::of(spec, Some(effective)), error),
            error.subject,
        ) {
            ((Reason::QuotaExhausted, MendedBy::Others), _) => Some(Self::Account),
            ((Reason::ModelUnavailable, MendedBy::Others), _) => {
                Some(Self::Model(named(&effective.model)))
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
            Self::Repository(_) => Reason::RepositoryInaccessible,
            Self::Reference { .. } => Reason::SettingsRefused,
            Self::Model(_) => Reason::ModelUnavailable,
        }
    }

    /// What the launches that wait have in common, for people: "launches ...".
    pub fn described(&self) -> String {
        match self {
            Self::Account => "with this key".to_owned(),
            Self::Repository(repository) => format!("on {repository}"),
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
}
