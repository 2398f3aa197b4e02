//! The templates (code agents) that sessions are launched from: one for each CodeAgent, found by the mark in its name.

use async_trait::async_trait;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::wire::Preamble;
use super::{AUTO_MODEL, Flapjack, behaviour, wire};
use crate::domain::markup;
use crate::providers::contract::{FoundTemplates, StoredTemplate, Template, Templates};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Method, Operation};
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
    async fn find(
        &self,
        wanted: &Template,
        known: Option<&str>,
    ) -> Result<FoundTemplates, ProviderError> {
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
        let written = self.written(wanted);
        let says = |stored: &wire::StoredTemplate| {
            name_says(
                stored.name.as_deref().unwrap_or_default(),
                &written.name,
                wanted,
            )
        };
        let unmarked = all.readable.iter().filter(|stored| match says(stored) {
            NameSays::Ours => false,
            NameSays::Perhaps => true,
            NameSays::Nothing => known == Some(stored.id.0.as_str()),
        });
        let unmarked = unmarked.map(|stored| stored.id.0.clone()).collect();
        let oldest = all
            .readable
            .into_iter()
            .filter(|stored| says(stored) == NameSays::Ours)
            .min_by_key(|stored| {
                // One without a date is taken only if there is no other; everyone takes the same.
                (
                    stored.created_at.is_none(),
                    stored.created_at,
                    stored.id.0.clone(),
                )
            });
        Ok(FoundTemplates {
            unmarked,
            marked: oldest.map(|stored| StoredTemplate {
                up_to_date: is_up_to_date(&stored, &written),
                has_preamble: has_preamble(&stored),
                id: stored.id.0,
            }),
        })
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

/// What the name of a template tells of whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameSays {
    /// It ends with the mark, in whatever spelling, or with enough of it.
    Ours,
    /// It is what our name would be if the provider took the mark, or most of it, away.
    Perhaps,
    /// Nothing.
    Nothing,
}

/// So much of a uid that it is nobody else's, in characters.
const ENOUGH_OF_A_UID: usize = 8;

fn name_says(name: &str, written: &str, wanted: &Template) -> NameSays {
    let (name, mark) = (letters(name), letters(&wanted.mark.to_string()));
    let written = letters(written);
    let marked_enough = (written.len() + ENOUGH_OF_A_UID)
        .saturating_sub(letters(&wanted.mark.uid).len())
        .min(written.len());
    if name.ends_with(&mark) || (name.len() >= marked_enough && written.starts_with(&name)) {
        NameSays::Ours
    } else if !name.is_empty()
        && written.starts_with(&name)
        && name.len() + mark.len() >= written.len()
    {
        NameSays::Perhaps
    } else {
        NameSays::Nothing
    }
}

/// Letters and digits alone, which no spelling changes.
fn letters(text: &str) -> String {
    let plain = markup::unescaped(text);
    plain.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Whether a stored template says what would be written. A name that the provider shows in another spelling is the same.
fn is_up_to_date(stored: &wire::StoredTemplate, wanted: &wire::WriteTemplate<'_>) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let params = stored.model_params.clone().unwrap_or_default();
    let same_params = params.len() == wanted.behaviour.model_params.len()
        && wanted
            .behaviour
            .model_params
            .iter()
            .all(|(name, value)| params.get(name).and_then(Value::as_str) == Some(value));
    let name = letters(&text(&stored.name));
    !name.is_empty()
        && letters(&wanted.name).starts_with(&name)
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
