//! Every call of the contract, made one after the other, to see what one kind of trouble does to all of them.

use codeagent_operator::api::ProviderKind;
use codeagent_operator::domain::send::answer::SendOutcome;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, Capability, MarkedRequest, MessageRun, Recovery, SessionRef,
    TimelineRequest,
};
use codeagent_operator::providers::error::ProviderError;

use crate::bench::{Bench, reference, template};

/// The outcome of a call; of a success what it looks like in a log.
pub type Answer = Result<String, ProviderError>;

/// What the calls are about.
pub struct Calls {
    pub session: SessionRef,
    pub lookup: AdoptRequest,
    /// Of a message to the session, where the provider takes any.
    message_lookup: Option<AdoptRequest>,
    /// Everything that the session's agent does.
    timeline: TimelineRequest,
}

impl Calls {
    /// Launches a session to ask about, and lets it work.
    pub async fn prepare(bench: &Bench) -> Self {
        let lookup = AdoptRequest {
            evidence_seen: false,
            ..bench.lookup().await
        };
        let launched = bench.launch(&bench.request()).await;
        bench.begin_work();
        let message_lookup = bench.provider.follow_ups().map(|_| AdoptRequest {
            message: Some("more".to_owned()),
            keys: Vec::new(),
            baseline: Some("run-0".to_owned()),
            ..lookup.clone()
        });
        let run = MessageRun {
            message: "prompt".to_owned(),
            session_id: launched.session_id.clone(),
            run_id: launched.run_id.clone(),
            ended: false,
        };
        Self {
            timeline: TimelineRequest {
                runs: vec![run],
                ..TimelineRequest::default()
            },
            session: reference(&launched.session_id),
            lookup,
            message_lookup,
        }
    }

    /// Whatever this installation launched while the lookup's launch was possible.
    fn everything_marked(&self) -> MarkedRequest {
        MarkedRequest {
            installation: self.lookup.installation.clone(),
            created_from: self.lookup.created_from,
            ended_from: self.lookup.created_from,
            known: Default::default(),
            resume: None,
        }
    }

    /// Every call that sends something, by name. A call that answers without asking (no capability for it) is none.
    pub async fn all(&self, bench: &Bench) -> Vec<(&'static str, Answer)> {
        let (provider, subject) = (&bench.provider, bench.subject);
        let mut answers = vec![
            ("verify", shown(provider.verify().await)),
            (
                "launch",
                sent(provider.launch(&bench.attempt("uid-2", 1)).await),
            ),
            ("get", shown(provider.get(&self.session).await)),
        ];
        match provider.adopt(&self.lookup).await {
            // Evidence that cannot be read is none, where there is never more than evidence: no verdict, and no failure.
            Ok(AdoptAnswer::Unknowable) => assert_eq!(subject.recovery(), Recovery::None),
            answer => answers.push(("adopt", shown(answer))),
        }
        if subject.can(Capability::ListModels) {
            answers.push((
                "models",
                shown(provider.models().unwrap().list_models().await),
            ));
        }
        if subject.can(Capability::List) {
            answers.push(("list", shown(provider.listing().unwrap().list(None).await)));
            let marked = provider
                .listing()
                .unwrap()
                .marked(&self.everything_marked())
                .await;
            answers.push(("marked", shown(marked)));
        }
        if subject.can(Capability::Cancel) {
            answers.push(("cancel", shown(provider.cancel(&self.session).await)));
        }
        if let (Some(follow_ups), Some(lookup)) = (provider.follow_ups(), &self.message_lookup) {
            let message = bench.message(&self.session.session_id, "more");
            answers.push(("message", sent(follow_ups.send(&message).await)));
            let found = follow_ups.find(&self.session, lookup).await;
            answers.push(("find a message", shown(found)));
        }
        if let Some(archiving) = provider.archiving() {
            let archived = archiving.archive(&self.session.session_id).await;
            answers.push(("archive", shown(archived)));
        }
        if let Some(timeline) = provider.timeline() {
            let page = timeline.page(&self.timeline, 10).await;
            answers.push(("timeline", shown(page)));
        }
        let sessions = [self.session.session_id.clone()];
        if let Some(artifacts) = provider.artifacts() {
            answers.push(("artifacts", shown(artifacts.list(&sessions).await)));
            let path = match subject.kind() {
                ProviderKind::Firebender => format!("recordings/{}", sessions[0]),
                _ => "artifacts/a".to_owned(),
            };
            let located = artifacts.locate(&sessions, &path).await;
            answers.push(("an artifact", shown(located)));
        }
        if let Some(previewing) = provider.previewing() {
            answers.push(("preview", shown(previewing.preview(&sessions[0]).await)));
        }
        if let Some(templates) = provider.templates() {
            let known = templates.find(&template(), None).await;
            answers.push(("find a template", shown(known)));
            let created = templates.create(&template()).await;
            answers.push(("create a template", shown(created)));
        }
        answers
    }
}

fn shown<T: std::fmt::Debug>(answer: Result<T, ProviderError>) -> Answer {
    answer.map(|answer| format!("{answer:?}"))
}

fn sent<T: std::fmt::Debug>(outcome: SendOutcome<T>) -> Answer {
    match outcome {
        SendOutcome::Accepted(accepted) => Ok(format!("{accepted:?}")),
        SendOutcome::Rejected(error) | SendOutcome::Unknown(error) => Err(error),
    }
}
