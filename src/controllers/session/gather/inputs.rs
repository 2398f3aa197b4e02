//! What a launch sends: the prompt, composed of its sources.

use sha2::{Digest, Sha256};

use super::agent::template_id;
use super::stored_status;
use crate::api::{CodeAgent, CodeSession};
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::{Obstacle, without};
use crate::controllers::scope::Scope;
use crate::domain::effective::{Fault, Objection, compose_prompt};
use crate::domain::ids::hex;
use crate::domain::session::Inputs;

pub(super) enum Missing {
    Objection(Objection),
    Source(Obstacle),
}

/// What a launch sends.
pub(super) async fn inputs(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: Option<&Linked>,
    namespace: &str,
    uid: &str,
) -> Result<Inputs, Missing> {
    let context = &scope.context;
    let spec = &object.spec;
    let text = match (&spec.prompt, &spec.prompt_from) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(source)) => context
            .sources
            .text(namespace, source)
            .await
            .map_err(|missing| Missing::Source(without(missing, "the prompt's source")))?
            .to_string(),
        // An issue needs no words of ours.
        (None, None) => String::new(),
    };
    let attempt = stored_status(object)
        .and_then(|status| status.launch.as_ref())
        .map_or(1, |record| record.attempt);
    let preamble = agent.spec.preamble.as_deref();
    let of_prompt = match spec.prompt {
        Some(_) => Fault::Session,
        None => Fault::Surroundings,
    };
    let prompt = compose_prompt(
        preamble,
        &text,
        of_prompt,
        &context.installation,
        uid,
        attempt,
    )
    .map_err(|objection| match objection.fault {
        Fault::Session => Missing::Objection(objection),
        // A source is not watched, so that a mended one is seen only by whoever looks.
        Fault::Surroundings => Missing::Source(Obstacle {
            objection,
            passing: false,
            again: context.timing().recheck,
        }),
    })?;
    let digest = hex(&Sha256::digest(prompt.as_bytes()), 16);
    Ok(Inputs {
        prompt,
        digest,
        template_id: linked.and_then(|linked| template_id(scope, agent, linked)),
    })
}
