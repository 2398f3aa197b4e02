//! What a launch or a message sends: the prompt, composed of its sources, and the images beside it.

use super::agent::template_id;
use crate::api::{CodeAgent, CodeSession, ImageSource, MessageSpec, ProviderSpec};
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::without;
use crate::controllers::images::HeldImages;
use crate::controllers::scope::Scope;
use crate::domain::blocker::{Blocker, Cause, NotReady};
use crate::domain::effective::{compose_prompt, env_from, message_blocker};
use crate::domain::environment::{Environment, EnvironmentDigest};
use crate::domain::image::ImageDigest;
use crate::domain::marker::{Marker, MarkerSubject};
use crate::domain::parameters;
use crate::domain::send::digest::request_digest;
use crate::domain::session::{Inputs, OpenSend, Stage, next_message};
use crate::providers::registry::capabilities_of;

pub(super) enum InputsError {
    Blocker(Blocker),
    Source(NotReady),
}

/// What a request sends. The content of its images and its environment variables are read when its turn has come.
pub struct Payload {
    /// Preamble, prompt and marker line.
    pub prompt: String,
    /// Where its images are.
    images: Vec<ImageSource>,
    /// What they were when it was composed.
    digests: Vec<ImageDigest>,
    /// The Secrets whose keys are its environment variables.
    env_from: Vec<String>,
    /// What they held when it was composed.
    environment: Option<EnvironmentDigest>,
}

impl Payload {
    async fn new(
        scope: &Scope,
        namespace: &str,
        prompt: String,
        images: Option<&Vec<ImageSource>>,
        owner: &str,
    ) -> Result<Self, NotReady> {
        let images = images.cloned().unwrap_or_default();
        let context = &scope.context;
        let digests = context
            .images
            .digests(&context.sources, namespace, &images, owner)
            .await;
        Ok(Self {
            prompt,
            digests: digests.map_err(|missing| without(missing, "the source of an image"))?,
            images,
            env_from: Vec::new(),
            environment: None,
        })
    }

    /// The same, with the variables of these Secrets.
    async fn with_environment(
        self,
        scope: &Scope,
        namespace: &str,
        env_from: Vec<String>,
    ) -> Result<Self, NotReady> {
        let context = &scope.context;
        let digest = context
            .environments
            .digest(&context.sources, namespace, &env_from)
            .await;
        Ok(Self {
            environment: digest.map_err(|missing| without(missing, "a Secret of envFrom"))?,
            env_from,
            ..self
        })
    }

    fn inputs(&self, template_id: Option<String>) -> Inputs {
        Inputs {
            digest: request_digest(&self.prompt, &self.digests, self.environment),
            template_id,
        }
    }

    /// Its images, to be sent now; `None` if they are not what they were when it was composed, or cannot be read.
    pub async fn read_images(&self, scope: &Scope, namespace: &str) -> Option<HeldImages> {
        if self.images.is_empty() {
            return Some(HeldImages::default());
        }
        let context = &scope.context;
        context
            .images
            .read(&context.sources, namespace, &self.images, &self.digests)
            .await
    }

    /// Its environment variables, to be sent now; `None` as with images.
    pub async fn read_environment(&self, scope: &Scope, namespace: &str) -> Option<Environment> {
        let context = &scope.context;
        context
            .environments
            .read(
                &context.sources,
                namespace,
                &self.env_from,
                self.environment,
            )
            .await
    }
}

/// What a launch sends: what a decision reads of it, and itself.
pub(super) async fn inputs(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: Option<&Linked>,
    namespace: &str,
    uid: &str,
) -> Result<(Inputs, Payload), InputsError> {
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
    let payload = Payload::new(scope, namespace, prompt, spec.images.as_ref(), "spec").await;
    let env_from = environment_of(object, agent);
    let payload = match payload {
        Ok(payload) => payload.with_environment(scope, namespace, env_from).await,
        Err(not_ready) => Err(not_ready),
    };
    let payload = payload.map_err(InputsError::Source)?;
    let inputs = payload.inputs(linked.and_then(|linked| template_id(scope, agent, linked)));
    Ok((inputs, payload))
}

/// The Secrets of the environment: those that the open launch was claimed with, or else what agent and session come to.
fn environment_of(object: &CodeSession, agent: &CodeAgent) -> Vec<String> {
    let status = object.stored_status();
    let claimed = Stage::of(status).claimed().and(status);
    match claimed.and_then(|status| status.effective.as_ref()) {
        Some(effective) => effective.env_from.clone(),
        None => env_from(&object.spec, &agent.spec),
    }
}

/// What the next message sends, or the one whose sending is open; `None` where there is none.
pub(super) async fn message_inputs(
    scope: &Scope,
    object: &CodeSession,
    provider: Option<&ProviderSpec>,
    namespace: &str,
    uid: &str,
) -> Option<Result<(Inputs, Payload), NotReady>> {
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
    let prompt = match compose_prompt(None, &text, of_prompt, &values, &marker) {
        Ok(prompt) => prompt,
        Err(blocker) => return Some(Err(refuse(blocker))),
    };
    let owner = format!("spec.messages[{}]", message.name);
    let images = message.images.as_ref();
    let payload = Payload::new(scope, namespace, prompt, images, &owner).await;
    Some(payload.map(|payload| (payload.inputs(None), payload)))
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
