//! The account behind a connection: whose key it is, what becomes of a key that is refused, and of too many requests.

use std::time::Duration;

use codeagent_operator::providers::contract::{API_KEY, Capability, LaunchOutcome, MAX_MODELS};
use codeagent_operator::providers::credential::Credential;
use codeagent_operator::providers::error::{ErrorClass, Sent};
use codeagent_simulator::{FaultKind, Matcher, ModelList};

use crate::bench::{Bench, patient, template};
use crate::calls::Calls;
use crate::subject::Subject;

contract!(
    an_account_is_told_from_others_and_its_fingerprint_holds_no_key,
    every_value_of_the_secret_is_needed,
    a_key_that_cannot_be_a_header_is_refused_without_being_shown,
    a_revoked_key_is_unauthorized_everywhere_and_starts_nothing,
    a_forbidden_call_is_forbidden,
    after_a_429_nothing_is_sent_until_the_time_is_over,
    a_429_without_a_time_silences_for_half_a_minute,
    how_long_to_wait_is_passed_on_whatever_the_status,
    a_used_up_quota_silences_nobody,
    models_are_listed_where_they_can_be,
    templates_are_there_exactly_with_the_capability,
    a_baseline_is_short_and_holds_no_key,
);

async fn an_account_is_told_from_others_and_its_fingerprint_holds_no_key(subject: Subject) {
    let bench = Bench::new(subject).await;
    let ours = bench.provider.verify().await.unwrap();
    let again = bench.connect(subject.credential()).unwrap();
    assert_eq!(
        again.verify().await.unwrap().fingerprint,
        ours.fingerprint,
        "the same account"
    );
    let theirs = bench.stranger().verify().await.unwrap();
    assert_ne!(theirs.fingerprint, ours.fingerprint);
    assert!(!format!("{ours:?}").contains("canary"));
    assert_eq!(bench.started(), 0);
}

async fn every_value_of_the_secret_is_needed(subject: Subject) {
    let bench = Bench::new(subject).await;
    let further = subject.registered().further_secret_keys();
    let names: Vec<&'static str> = [API_KEY]
        .into_iter()
        .chain(further.iter().copied())
        .filter(|name| subject.credential().get(name).is_some())
        .collect();
    assert!(!names.is_empty());
    for missing in &names {
        for blank in ["", "  \n"] {
            let credential = names.iter().fold(Credential::new(), |credential, name| {
                let whole = subject.credential();
                let value = if name == missing {
                    blank
                } else {
                    whole.get(name).unwrap()
                };
                credential.with(name, value)
            });
            let error = bench.connect(credential).err().unwrap();
            assert_eq!(
                (error.class, error.sent),
                (ErrorClass::Unauthorized, Sent::Nothing)
            );
            assert_eq!(
                error.message,
                format!("the Secret holds no value for {missing}")
            );
        }
    }
}

async fn a_key_that_cannot_be_a_header_is_refused_without_being_shown(subject: Subject) {
    let bench = Bench::new(subject).await;
    let broken = "key_canary\nin two lines";
    let credential = match subject.credential().get(API_KEY) {
        Some(_) => subject.credential().with(API_KEY, broken),
        None => subject.credential().with("password", broken),
    };
    // Basic authentication can carry any text.
    if let Err(error) = bench.connect(credential) {
        assert_eq!(
            (error.class, error.sent),
            (ErrorClass::Unauthorized, Sent::Nothing)
        );
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

async fn a_revoked_key_is_unauthorized_everywhere_and_starts_nothing(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    assert!(bench.simulator.revoke(subject.simulated(), "ours"));
    for (call, answer) in calls.all(&bench).await {
        let error = answer.unwrap_err();
        assert_eq!(
            (error.class, error.status),
            (ErrorClass::Unauthorized, Some(401)),
            "{call}"
        );
    }
    let outcome = bench.provider.launch(&bench.request()).await;
    assert!(matches!(outcome, LaunchOutcome::Rejected(_)), "{outcome:?}");
    assert_eq!(bench.started(), 1, "the one from before");
}

async fn a_forbidden_call_is_forbidden(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    let fault = FaultKind::ErrorBefore {
        status: 403,
        code: "role_forbidden".into(),
    };
    bench.always(Matcher::any(), fault);
    for (call, answer) in calls.all(&bench).await {
        let error = answer.unwrap_err();
        assert_eq!(error.class, ErrorClass::Forbidden, "{call}");
        assert_eq!(error.code.as_deref(), Some("role_forbidden"), "{call}");
        assert!(!error.message.is_empty() && error.message.chars().count() <= 512);
    }
}

async fn after_a_429_nothing_is_sent_until_the_time_is_over(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    let limited = FaultKind::RateLimited {
        retry_after: Some(40),
    };
    bench.always(Matcher::any(), limited);
    let before = bench.simulator.requests().len();
    let mut sent = 0;
    for (call, answer) in calls.all(&bench).await {
        let error = answer.unwrap_err();
        assert_eq!(error.class, ErrorClass::RateLimited, "{call}");
        let wait = error.retry_after.unwrap();
        assert!(wait <= Duration::from_secs(40) && wait > Duration::from_secs(10));
        sent += usize::from(error.sent == Sent::Possibly);
    }
    assert_eq!(sent, 1, "the first, which was told to wait");
    assert_eq!(bench.simulator.requests().len(), before + 1);
    let LaunchOutcome::Rejected(error) = bench.provider.launch(&bench.request()).await else {
        panic!()
    };
    assert_eq!(error.sent, Sent::Nothing);
    // Another account is not silenced with it.
    bench.simulator.clear_faults();
    bench.stranger().verify().await.unwrap();
}

async fn a_429_without_a_time_silences_for_half_a_minute(subject: Subject) {
    let bench = Bench::new(subject).await;
    bench.always(Matcher::any(), FaultKind::RateLimited { retry_after: None });
    let LaunchOutcome::Rejected(error) = bench.provider.launch(&bench.request()).await else {
        panic!()
    };
    assert_eq!(
        (error.class, error.sent),
        (ErrorClass::RateLimited, Sent::Possibly)
    );
    assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
}

async fn how_long_to_wait_is_passed_on_whatever_the_status(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    let busy = FaultKind::Respond {
        status: 503,
        headers: vec![("retry-after".into(), "7".into())],
        body: String::new(),
    };
    bench.always(Matcher::any(), busy);
    for (call, answer) in calls.all(&bench).await {
        let error = answer.unwrap_err();
        assert_eq!(error.class, ErrorClass::Unavailable, "{call}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{call}");
    }
}

async fn a_used_up_quota_silences_nobody(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    for (status, code) in [(402, "payment_required"), (429, "usage_limit_exceeded")] {
        bench.simulator.clear_faults();
        let fault = FaultKind::ErrorBefore {
            status,
            code: code.into(),
        };
        bench.always(Matcher::any(), fault);
        for (call, answer) in calls.all(&bench).await {
            let error = answer.unwrap_err();
            assert_eq!(
                (error.class, error.sent),
                (ErrorClass::QuotaExhausted, Sent::Possibly),
                "{call}: asked each time"
            );
        }
    }
}

async fn models_are_listed_where_they_can_be(subject: Subject) {
    for shape in [ModelList::Objects, ModelList::Strings] {
        let bench = Bench::with(subject, |options| options.cursor.models = shape, patient()).await;
        let before = bench.simulator.requests().len();
        let models = bench.provider.models();
        assert_eq!(models.is_some(), subject.can(Capability::ListModels));
        if let Some(models) = models {
            let models = models.list_models().await.unwrap();
            assert!((1..=MAX_MODELS).contains(&models.len()));
            assert!(models.iter().all(|id| !id.is_empty()), "{models:?}");
        } else {
            assert_eq!(bench.simulator.requests().len(), before);
        }
    }
}

async fn templates_are_there_exactly_with_the_capability(subject: Subject) {
    let bench = Bench::new(subject).await;
    let can = subject.can(Capability::Templates);
    assert_eq!(bench.provider.templates().is_some(), can);
    let Some(templates) = bench.provider.templates() else {
        assert_eq!(bench.request().template_id, None);
        return;
    };
    let wanted = template();
    let found = templates.find(&wanted, None).await.unwrap().marked.unwrap();
    assert!(found.up_to_date);
    assert_eq!(Some(&found.id), bench.request().template_id.as_ref());
    // A creation that was repeated does no harm: the oldest counts, and deleting until nothing is found takes away both.
    bench.pass(Duration::from_secs(1));
    let double = templates.create(&wanted).await.unwrap();
    assert_eq!(
        templates
            .find(&wanted, None)
            .await
            .unwrap()
            .marked
            .unwrap()
            .id,
        found.id
    );
    for id in [&found.id, &double, &double] {
        templates.delete(id).await.unwrap();
    }
    assert_eq!(templates.find(&wanted, None).await.unwrap().marked, None);
    let LaunchOutcome::Rejected(error) = bench.provider.launch(&bench.request()).await else {
        panic!()
    };
    assert_eq!(error.class, ErrorClass::NotFound);
}

async fn a_baseline_is_short_and_holds_no_key(subject: Subject) {
    let bench = Bench::new(subject).await;
    let baseline = bench.baseline().await.unwrap();
    assert_eq!(
        baseline.is_some(),
        subject.can(Capability::Issue),
        "an empty one is one"
    );
    let text = baseline.unwrap_or_default();
    assert!(text.len() <= 4096 && !text.contains("canary"), "{text}");
    assert_eq!(bench.started(), 0);
}
