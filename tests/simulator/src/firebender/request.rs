//! Request bodies of Firebender, validated against its examples and schemas. Unknown members are ignored, so a 2026 body is accepted by the 2025
//! version too.

use serde_json::{Map, Value};

use crate::fields::{Fields, ImageForm};
use crate::http::Refusal;
use crate::options::FirebenderDocument;
use crate::script::Script;
use crate::webhook::Webhook;

/// The documented example calls this the minimum.
const MIN_WEBHOOK_SECRET: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Write,
    Read,
    MobileUse,
    DebugAuto,
}

impl Mode {
    /// Only modes with an emulator record its screen.
    pub(super) fn records_screen(self) -> bool {
        match self {
            Self::MobileUse | Self::DebugAuto => true,
            Self::Write | Self::Read => false,
        }
    }

    /// `read` makes no changes, so there is nothing to open a pull request for.
    pub(super) fn changes_code(self) -> bool {
        self != Self::Read
    }
}

/// A valid `POST /v0/agents`.
#[derive(Debug)]
pub(super) struct CreateAgent {
    pub(super) prompt: String,
    pub(super) directive: Script,
    pub(super) repository: String,
    pub(super) git_ref: String,
    pub(super) mode: Mode,
    pub(super) skip_gradle_sync: bool,
    pub(super) auto_create_pr: bool,
    pub(super) branch_name: Option<String>,
    pub(super) webhook: Option<Webhook>,
}

/// A valid `POST /v0/agents/{id}/followup`.
#[derive(Debug)]
pub(super) struct FollowUp {
    pub(super) prompt: String,
    pub(super) directive: Script,
}

impl CreateAgent {
    pub(super) fn parse(
        body: &Map<String, Value>,
        document: FirebenderDocument,
    ) -> Result<Self, Refusal> {
        let fields = Fields::root(body);
        let (prompt, directive) = prompt(&fields)?;
        let source = fields.required_object("source")?;
        let repository = source.required(
            "repository",
            source
                .web_url("repository")?
                .and(source.string("repository")?),
        )?;
        let git_ref = source.required_string("ref")?;
        fields.string("model")?;
        let (mode, skip_gradle_sync) = match document {
            FirebenderDocument::Y2025 => (Mode::Write, false),
            FirebenderDocument::Y2026 => (
                mode(&fields)?,
                fields.boolean("skipGradleSync")?.unwrap_or(false),
            ),
        };
        let (auto_create_pr, branch_name) = match fields.object("target")? {
            Some(target) => (
                target.boolean("autoCreatePr")?.unwrap_or(false),
                target.string("branchName")?,
            ),
            None => (false, None),
        };
        let webhook = webhook(&fields)?;
        Ok(Self {
            prompt,
            directive,
            repository: repository.to_owned(),
            git_ref: git_ref.to_owned(),
            mode,
            skip_gradle_sync,
            auto_create_pr,
            branch_name: branch_name.map(str::to_owned),
            webhook,
        })
    }
}

impl FollowUp {
    pub(super) fn parse(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let (prompt, directive) = prompt(&Fields::root(body))?;
        Ok(Self { prompt, directive })
    }
}

fn webhook(fields: &Fields<'_>) -> Result<Option<Webhook>, Refusal> {
    let Some(webhook) = fields.object("webhook")? else {
        return Ok(None);
    };
    webhook.required("url", webhook.web_url("url")?)?;
    let (url, secret) = (webhook.required_string("url")?, webhook.string("secret")?);
    if secret.is_some_and(|secret| secret.len() < MIN_WEBHOOK_SECRET) {
        return Err(webhook.invalid("secret", "String must contain at least 32 character(s)"));
    }
    Ok(Some(Webhook {
        url: url.to_owned(),
        secret: secret.map(str::to_owned),
    }))
}

fn mode(fields: &Fields<'_>) -> Result<Mode, Refusal> {
    Ok(
        match fields.one_of("mode", &["write", "read", "mobile_use", "debug_auto"])? {
            Some("read") => Mode::Read,
            Some("mobile_use") => Mode::MobileUse,
            Some("debug_auto") => Mode::DebugAuto,
            Some(_) | None => Mode::Write,
        },
    )
}

fn prompt(fields: &Fields<'_>) -> Result<(String, Script), Refusal> {
    let text = fields.prompt(ImageForm::Data)?;
    let directive =
        Script::from_prompt(text).map_err(|error| Refusal::validation(error.explain()))?;
    Ok((text.to_owned(), directive))
}
