//! The templates (code agents) that sessions are launched from: one for each CodeAgent, found by the mark in its name.

use async_trait::async_trait;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::wire::Preamble;
use super::{AUTO_MODEL, Flapjack, behaviour, wire};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Method, Operation};
use crate::providers::templates::{StoredTemplate, Template, Templates};
use crate::providers::wire::Items;

const PATH: [&str; 2] = ["api", "code-agents"];
/// What Flapjack takes where a template names none; written out, or an old one could not be taken back.
const DEFAULT_REFERENCE: &str = "main";
/// Where the CodeAgent has none; an empty one may be refused.
const DEFAULT_DESCRIPTION: &str = "Kept by codeagent-operator: change the CodeAgent instead";
/// Of the part of a name that people chose, in characters.
const LONGEST_NAME: usize = 100;

#[async_trait]
impl Templates for Flapjack {
    async fn find(&self, wanted: &Template) -> Result<Option<StoredTemplate>, ProviderError> {
        let all: Items<wire::StoredTemplate> = self
            .api
            .get(Operation::Templates, &PATH, &self.org_query())
            .await?;
        // One that cannot be read may be the one, and its doubles would pile up with every look.
        if all.missing() > 0 {
            return Err(ProviderError::unreadable(
                None,
                format!("{} templates cannot be read", all.missing()),
            ));
        }
        let mark = wanted.mark.to_string();
        let oldest = all
            .readable
            .into_iter()
            .filter(|stored| {
                stored
                    .name
                    .as_deref()
                    .is_some_and(|name| name.ends_with(&mark))
            })
            .min_by_key(|stored| {
                // One without a date is taken only if there is no other; everyone takes the same.
                (
                    stored.created_at.is_none(),
                    stored.created_at,
                    stored.id.0.clone(),
                )
            });
        Ok(oldest.map(|stored| StoredTemplate {
            up_to_date: says(&stored, &self.written(wanted)),
            has_preamble: has_preamble(&stored),
            id: stored.id.0,
        }))
    }

    async fn create(&self, wanted: &Template) -> Result<String, ProviderError> {
        let body = self.written(wanted);
        let stored: wire::StoredTemplate = self
            .api
            .send(Operation::Templates, Method::POST, &PATH, &body)
            .await?;
        Ok(stored.id.0)
    }

    async fn update(&self, found: &StoredTemplate, wanted: &Template) -> Result<(), ProviderError> {
        let body = wire::WriteTemplate {
            // A template stays where it is.
            org_id: None,
            preamble: match found.has_preamble {
                true => Preamble::Cleared,
                false => Preamble::Kept,
            },
            ..self.written(wanted)
        };
        let [api, agents] = PATH;
        let _: IgnoredAny = self
            .api
            .send(
                Operation::Templates,
                Method::PATCH,
                &[api, agents, &found.id],
                &body,
            )
            .await?;
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        let [api, agents] = PATH;
        match self
            .api
            .delete(Operation::Templates, &[api, agents, id])
            .await
        {
            Err(error) if error.class == ErrorClass::NotFound => Ok(()),
            answer => answer,
        }
    }
}

impl Flapjack {
    fn written<'a>(&'a self, wanted: &'a Template) -> wire::WriteTemplate<'a> {
        let name: String = wanted.name.chars().take(LONGEST_NAME).collect();
        wire::WriteTemplate {
            name: format!("{name} {}", wanted.mark).trim_start().to_owned(),
            description: wanted
                .description
                .as_deref()
                .filter(|text| !text.is_empty())
                .unwrap_or(DEFAULT_DESCRIPTION),
            org_id: self.org_id.as_deref(),
            default_repo_url: wanted.repository.as_deref(),
            default_starting_ref: wanted.reference.as_deref().unwrap_or(DEFAULT_REFERENCE),
            behaviour: behaviour(&wanted.pull_request, wanted.model.as_ref()),
            preamble: Preamble::Kept,
        }
    }
}

/// Whether a stored template says what would be written.
fn says(stored: &wire::StoredTemplate, wanted: &wire::WriteTemplate<'_>) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let params = stored.model_params.clone().unwrap_or_default();
    let same_params = params.len() == wanted.behaviour.model_params.len()
        && wanted
            .behaviour
            .model_params
            .iter()
            .all(|(name, value)| params.get(name).and_then(Value::as_str) == Some(value));
    text(&stored.name) == wanted.name
        && text(&stored.description) == wanted.description
        // Whether a repository can be taken back is not documented, and it makes no difference: a launch names its own.
        && wanted
            .default_repo_url
            .is_none_or(|url| stored.default_repo_url.as_deref() == Some(url))
        && stored.default_starting_ref.as_deref() == Some(wanted.default_starting_ref)
        && stored.auto_create_pr == Some(wanted.behaviour.auto_create_pr)
        && stored.work_on_current_branch == Some(wanted.behaviour.work_on_current_branch)
        && stored.skip_reviewer_request == Some(wanted.behaviour.skip_reviewer_request)
        && stored.model_id.as_deref().unwrap_or(AUTO_MODEL) == wanted.behaviour.model_id
        && same_params
        && !has_preamble(stored)
}

fn has_preamble(stored: &wire::StoredTemplate) -> bool {
    stored
        .preamble
        .as_deref()
        .is_some_and(|text| !text.is_empty())
}
