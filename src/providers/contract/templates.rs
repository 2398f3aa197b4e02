//! Templates that a provider keeps: one for each CodeAgent, where sessions can only be launched from one.

use std::fmt;

use async_trait::async_trait;

use crate::api::{ModelSpec, PullRequestSpec};
use crate::domain::ids::InstallationId;
use crate::domain::remote::ProviderError;

/// Keeps the templates of one account at its provider.
///
/// Nothing here costs anything, and everything can be repeated: [`find`](Self::find) comes before
/// [`create`](Self::create), and a creation whose answer was lost is found by its mark. Two that were made at once do no
/// harm: the oldest is used from then on.
#[async_trait]
pub trait Templates: Send + Sync {
    /// The template with `wanted`'s mark, whatever else it says; of several the oldest. Deleting until nothing is found
    /// takes away all of them. A provider may cut names, or show them in another spelling: what can be told by the rest is told, and
    /// what may be it is not left out. `known` is the id of the template that was made, if its id is known.
    async fn find(
        &self,
        wanted: &Template,
        known: Option<&str>,
    ) -> Result<FoundTemplates, ProviderError>;

    /// Makes a template and answers with its id.
    async fn create(&self, wanted: &Template) -> Result<String, ProviderError>;

    /// Makes a template that was found say what is wanted.
    ///
    /// # Errors
    /// [`ErrorClass::NotFound`](crate::domain::remote::ErrorClass::NotFound) if it is gone.
    async fn update(&self, found: &StoredTemplate, wanted: &Template) -> Result<(), ProviderError>;

    /// Deletes the template with this id; one that is gone already is no error.
    async fn delete(&self, id: &str) -> Result<(), ProviderError>;
}

/// What a template says. It is for the people who look at it at the provider: a launch says everything itself.
///
/// There is no preamble in it: ours is part of every prompt, and a second one would be put before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Whose template it is.
    pub mark: TemplateMark,
    /// What people see as its name; the mark is added to it.
    pub name: String,
    /// What it is for, where the CodeAgent says so.
    pub description: Option<String>,
    /// URL of the repository, where the CodeAgent names one.
    pub repository: Option<String>,
    /// Where to start.
    pub reference: Option<String>,
    /// The model, or the provider's default.
    pub model: Option<ModelSpec>,
    /// What happens with branch and pull request.
    pub pull_request: PullRequestSpec,
}

/// Whose template it is: which CodeAgent's, of which installation. Stands in the template's name, by which it is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateMark {
    /// This installation.
    pub installation: InstallationId,
    /// The uid of the CodeAgent.
    pub uid: String,
}

impl fmt::Display for TemplateMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[codeagents.dev/{}/{}]", self.installation, self.uid)
    }
}

/// What a look for a template has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTemplates {
    /// The one with the mark.
    pub marked: Option<StoredTemplate>,
    /// Ids of others that may be it: the one that is known by its id, and those that are named alike but show no mark.
    pub unmarked: Vec<String>,
}

/// A template as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTemplate {
    /// The provider's id.
    pub id: String,
    /// Whether it says what is wanted; if not, an update makes it so.
    pub up_to_date: bool,
    /// Whether somebody gave it a preamble, which an update has to take away.
    pub has_preamble: bool,
}
