//! What a launch sends: the prompt, composed of its sources.

use sha2::{Digest, Sha256};

use super::agent::template_id;
use crate::api::{CodeAgent, CodeSession};
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::without;
use crate::controllers::scope::Scope;
use crate::domain::blocker::{Blocker, Cause, NotReady};
use crate::domain::effective::compose_prompt;
use crate::domain::ids::hex;
use crate::domain::session::Inputs;

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
        &context.installation,
        uid,
        attempt,
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
