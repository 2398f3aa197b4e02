//! What is kept of a CodeSession with which nothing is left to do: enough to count it, and to know its provider session as its own.
//!
//! The test below counts what 100,000 of them take as they are allocated, the entry in the cache and the index of owners included,
//! and bounds it to 280 bytes each.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use uuid::Uuid;

use crate::api::{ADOPT_ANNOTATION, CodeAgent, CodeSession, DeletionPolicy, FINALIZER, SendState};
use crate::domain::ids::{AccountFingerprint, LaunchKey};
use crate::domain::orphan::KnownLaunch;
use crate::domain::session::{archive_pending, deletion_policy_of, next_message};
use crate::domain::webhook::is_pending;
use crate::runtime::cache::{Cached, Names, Never, Record};

/// A CodeSession with which nothing is left to do.
pub struct Finished {
    uid: Uuid,
    version: u64,
    agent: Arc<str>,
    launch: Option<Launched>,
    /// In seconds since 1970; the smallest number if it is not known.
    completed_at: i64,
    /// Whether its provider session was left running on purpose when it is deleted.
    released: bool,
}

/// The record of its launch.
struct Launched {
    key: Uuid,
    account: Arc<str>,
    /// In seconds since 1970, like the next.
    claimed_at: i64,
    first_claimed_at: i64,
    posts: i16,
    state: SendState,
    /// Whether a provider session is recorded.
    recorded: bool,
}

impl Finished {
    /// The record of a session with which nothing is left to do; `None` if something is, or may be.
    fn of(session: &CodeSession, names: &mut Names) -> Option<Self> {
        let status = session.status.as_ref()?;
        let meta = &session.metadata;
        let effective = status.effective.as_ref();
        let ttl = session
            .spec
            .ttl_seconds_after_finished
            .or(effective.and_then(|effective| effective.ttl_seconds_after_finished));
        let settled = status.phase.is_terminal()
            && next_message(&session.spec, Some(status)).is_none()
            && status.blocker.is_none()
            && meta.deletion_timestamp.is_none()
            && !session.finalizers().iter().any(|it| it == FINALIZER)
            && !session.annotations().contains_key(ADOPT_ANNOTATION)
            && ttl.is_none()
            && !archive_pending(&session.spec, status)
            && !is_pending(meta.uid.as_deref()?, &session.spec, status)
            && meta.generation == Some(status.observed_generation);
        if !settled {
            return None;
        }
        let provider = status.provider.as_ref();
        if provider.is_some_and(|provider| !provider.chain.is_empty()) {
            return None;
        }
        let launch = match &status.launch {
            None => None,
            Some(record) => Some(Launched {
                key: record.key.parse().ok()?,
                account: names.share(&record.target.account),
                claimed_at: record.claimed_at.as_second(),
                first_claimed_at: record.first_claim().as_second(),
                posts: i16::try_from(record.posts).ok()?,
                state: record.state,
                recorded: provider.is_some_and(|provider| provider.session_id.is_some()),
            }),
        };
        Some(Self {
            uid: meta.uid.as_deref()?.parse().ok()?,
            version: meta.resource_version.as_deref()?.parse().ok()?,
            agent: names.share(&session.spec.agent_ref.name),
            launch,
            completed_at: status.completed_at.map_or(i64::MIN, Timestamp::as_second),
            released: released(session),
        })
    }

    /// Its uid.
    pub fn uid(&self) -> String {
        self.uid.to_string()
    }

    /// The name of its CodeAgent.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Whether its provider session is left running on purpose when it is deleted.
    pub fn released(&self) -> bool {
        self.released
    }

    /// Whether a provider session is recorded on it.
    pub fn recorded(&self) -> bool {
        self.launch.as_ref().is_some_and(|launch| launch.recorded)
    }

    /// When it ended.
    pub fn completed_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.completed_at).ok()
    }

    /// Whether its provider no longer knows it.
    pub fn is_lost(&self) -> bool {
        let launch = self.launch.as_ref();
        launch.is_some_and(|launch| launch.state == SendState::Lost)
    }

    /// The record of its launch.
    pub fn launch(&self) -> Option<KnownLaunch> {
        let launch = self.launch.as_ref()?;
        Some(KnownLaunch {
            key: LaunchKey::recorded(launch.key.to_string()),
            state: launch.state,
            claimed_at: Timestamp::from_second(launch.claimed_at).unwrap_or_default(),
            first_claimed_at: Timestamp::from_second(launch.first_claimed_at).unwrap_or_default(),
            posts: i32::from(launch.posts),
            account: AccountFingerprint::new(&*launch.account),
        })
    }
}

/// Whether the provider session of this CodeSession is left running on purpose when it is deleted.
pub fn released(session: &CodeSession) -> bool {
    deletion_policy_of(&session.spec, session.status.as_ref()) == DeletionPolicy::Orphan
}

impl Record for Finished {
    fn is_of(&self, uid: &str) -> bool {
        uid.parse().is_ok_and(|uid: Uuid| uid == self.uid)
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn group(&self) -> &Arc<str> {
        &self.agent
    }
}

impl Cached for CodeSession {
    type Record = Finished;

    fn record(&self, names: &mut Names) -> Option<Finished> {
        Finished::of(self, names)
    }

    /// Sessions are grouped by their CodeAgent.
    fn group(&self) -> &str {
        &self.spec.agent_ref.name
    }
}

impl Cached for CodeAgent {
    type Record = Never;

    fn record(&self, _: &mut Names) -> Option<Never> {
        None
    }

    fn group(&self) -> &str {
        ""
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use kube::core::DeserializeGuard;
    use kube_runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::controllers::owners::Owners;
    use crate::runtime::cache::{Cache, Change};

    /// A finished session as the API server lists it.
    fn finished(number: u32) -> CodeSession {
        let uid =
            Uuid::from_u128(u128::from(number) << 64 | 0x4000_8000_0000_0000_0000).to_string();
        let id = format!("bc-{uid}");
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
            "metadata": {
                "namespace": format!("team-{}", number % 7), "name": format!("fix-issue-{number}"), "uid": uid,
                "generation": 1, "resourceVersion": (number + 1000).to_string(),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"codeagents.dev/origin": format!("team/fix-issue-{number}/{uid}")},
            },
            "spec": {"agentRef": {"name": format!("agent-{}", number % 50)}, "prompt": "Do it. ".repeat(300)},
            "status": {
                "phase": "Finished", "observedGeneration": 1,
                "provider": {"kind": "cursor", "sessionId": id},
                "launch": {
                    "key": uid, "attempt": 1, "claimId": "claim", "posts": 1, "state": "Confirmed",
                    "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z",
                    "target": {
                        "kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.cursor.com",
                        "account": "0123456789abcdef", "secretRef": "key/api-key",
                    },
                    "requestDigest": "digest",
                },
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_is_left_to_do_keeps_a_session_whole() {
        let record = |change: &dyn Fn(&mut CodeSession)| {
            let mut session = finished(1);
            change(&mut session);
            Finished::of(&session, &mut Names::default())
        };
        let done = record(&|_| {}).unwrap();
        assert_eq!(done.uid(), finished(1).uid().unwrap());
        assert_eq!(done.agent(), "agent-1");
        let launch = done.launch().unwrap();
        assert_eq!(launch.key.as_uuid(), finished(1).uid().unwrap());
        assert_eq!(launch.claimed_at, "2026-01-01T00:00:00Z".parse().unwrap());
        type Change = fn(&mut CodeSession);
        let left: [(&str, Change); 9] = [
            ("a report to its webhook", |it| {
                let webhook = json!({"url": "https://hooks.example.com/x"});
                it.spec.webhook = serde_json::from_value(webhook).unwrap();
            }),
            ("a message to send", |it| {
                let message = json!([{"name": "more", "prompt": "Go on"}]);
                it.spec.messages = serde_json::from_value(message).unwrap();
            }),
            ("our finalizer", |it| {
                it.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
            }),
            ("a deletion", |it| {
                it.metadata.deletion_timestamp = it.metadata.creation_timestamp.clone();
            }),
            ("a changed spec", |it| it.metadata.generation = Some(2)),
            ("a time to live", |it| {
                it.spec.ttl_seconds_after_finished = Some(1)
            }),
            ("its archiving", |it| {
                it.spec.desired_state = Some(crate::api::DesiredState::Archived);
            }),
            ("a hand-over", |it| {
                it.annotations_mut()
                    .insert(ADOPT_ANNOTATION.to_owned(), "bc-1".to_owned());
            }),
            ("its run", |it| {
                it.status.as_mut().unwrap().phase = crate::api::SessionPhase::Running;
            }),
        ];
        for (what, change) in left {
            assert!(record(&change).is_none(), "{what}");
        }
    }

    /// What 100,000 finished sessions take, and what a list that begins anew takes on top of it.
    #[test]
    fn a_finished_session_takes_few_bytes() {
        const SESSIONS: u32 = 100_000;
        let (cache, owners) = (Cache::<CodeSession>::default(), Owners::default());
        let list = || {
            cache.take(Event::Init, &mut |_| {});
            for number in 0..SESSIONS {
                let listed = Event::InitApply(DeserializeGuard(Ok(finished(number))));
                cache.take(listed, &mut |change| {
                    if let Change::Applied { object, .. } = change {
                        owners.note(object);
                    }
                });
            }
            cache.take(Event::InitDone, &mut |_| {});
        };
        let first = allocation_counter::measure(list);
        let each = first.bytes_current / i64::from(SESSIONS);
        assert!((150..=280).contains(&each), "{each} bytes each");
        assert_eq!(cache.all().len(), 0);
        let again = allocation_counter::measure(list);
        assert!(
            again.bytes_current.abs() < 100_000,
            "{}",
            again.bytes_current
        );
        let peak = again.bytes_max;
        assert!(
            peak < 100_000,
            "{peak} bytes on top while it is listed anew"
        );
    }
}
