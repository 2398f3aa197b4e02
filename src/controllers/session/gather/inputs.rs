//! What a launch sends: the prompt, composed of its sources.

use sha2::{Digest, Sha256};

use super::agent::template_id;
use crate::api::{CodeAgent, CodeSession, MessageSpec, ProviderSpec};
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::without;
use crate::controllers::scope::Scope;
use crate::domain::blocker::{Blocker, Cause, NotReady};
use crate::domain::effective::{compose_prompt, message_blocker};
use crate::domain::ids::hex;
use crate::domain::marker::{Marker, MarkerSubject};
use crate::domain::parameters;
use crate::domain::session::{Inputs, OpenSend, Stage, next_message};
use crate::providers::registry::capabilities_of;

pub(super) enum InputsError {
    Blocker(Blocker),
    Source(NotReady),
}

/// What a launch sends: what a decision reads of it, and the prompt itself.
pub(super) async fn inputs(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: Option<&Linked>,
    namespace: &str,
    uid: &str,
) -> Result<(Inputs, String), InputsError> {
    let context = &scope.context;
    let spec = &object.spec;
    let text = match (&spec.prompt, &spec.prompt_from) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(source)) => context
            .sources
            .text(namespace, source)
            .await
            .map_err(|missing| InputsError::Source(without(missing, "the prompt's source")))?
            .to_string(),
        // An issue needs no words of ours.
        (None, None) => String::new(),
    };
    let attempt = object
        .stored_status()
        .and_then(|status| status.launch.as_ref())
        .map_or(1, |record| record.attempt);
    let preamble = agent.spec.preamble.as_deref();
    let of_prompt = match spec.prompt {
        Some(_) => Cause::Spec,
        None => Cause::Environment,
    };
    let prompt = compose_prompt(
        preamble,
        &text,
        of_prompt,
        &parameters::resolve(spec, &agent.spec),
        &Marker::launch(context.installation.clone(), uid, attempt),
    )
    .map_err(|blocker| match blocker.cause {
        Cause::Spec => InputsError::Blocker(blocker),
        // A source is not watched, so that a mended one is seen only by whoever looks.
        Cause::Environment => InputsError::Source(NotReady {
            blocker,
            transient: false,
            again: context.timing().recheck,
        }),
    })?;
    let inputs = Inputs {
        digest: hex(&Sha256::digest(prompt.as_bytes()), 16),
        template_id: linked.and_then(|linked| template_id(scope, agent, linked)),
    };
    Ok((inputs, prompt))
}

/// What the next message sends, or the one whose sending is open, and its text; `None` where there is none.
pub(super) async fn message_inputs(
    scope: &Scope,
    object: &CodeSession,
    provider: Option<&ProviderSpec>,
    namespace: &str,
    uid: &str,
) -> Option<Result<(Inputs, String), NotReady>> {
    let context = &scope.context;
    let message = message_of(object)?;
    let refuse = |blocker: Blocker| NotReady {
        blocker,
        transient: false,
        // A source is not watched, so that a mended one is seen only by whoever looks.
        again: context.timing().recheck,
    };
    if let Some(spec) = provider
        && let Some(provider) = context.provider(spec)
        && let Some(blocker) = message_blocker(
            message,
            &capabilities_of(provider, spec),
            &context.installed,
        )
    {
        return Some(Err(refuse(blocker)));
    }
    let (text, of_prompt) = match (&message.prompt, &message.prompt_from) {
        (Some(prompt), _) => (prompt.clone(), Cause::Spec),
        (None, Some(source)) => match context.sources.text(namespace, source).await {
            Ok(text) => (text.to_string(), Cause::Environment),
            Err(missing) => return Some(Err(without(missing, "the message's source"))),
        },
        (None, None) => return None,
    };
    let marker = Marker {
        installation: context.installation.clone(),
        uid: uid.to_owned(),
        subject: MarkerSubject::Message(message.name.clone()),
    };
    let effective = object
        .stored_status()
        .and_then(|status| status.effective.as_ref());
    let values = effective
        .map(|effective| effective.parameters.clone())
        .unwrap_or_default();
    Some(
        match compose_prompt(None, &text, of_prompt, &values, &marker) {
            Ok(prompt) => {
                let inputs = Inputs {
                    digest: hex(&Sha256::digest(prompt.as_bytes()), 16),
                    template_id: None,
                };
                Ok((inputs, prompt))
            }
            Err(blocker) => Err(refuse(blocker)),
        },
    )
}

fn message_of(object: &CodeSession) -> Option<&MessageSpec> {
    match Stage::of(object.stored_status()) {
        Stage::Open(OpenSend::Message { name, .. }) => {
            let mut messages = object.spec.messages.iter().flatten();
            messages.find(|message| message.name == name)
        }
        _ => next_message(&object.spec, object.stored_status()),
    }
}
