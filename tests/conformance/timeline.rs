//! What the agent of a session does: every event has one number, whoever reads it and how, and nothing is passed over in silence.

use std::time::Duration;

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::timeline::{
    Event, EventType, MAX_PAGE, PAYLOAD_BYTES, Position, TEXT_BYTES,
};
use codeagent_operator::providers::contract::{
    Capability, MessageOutcome, MessageRun, NextPage, Provider, Timeline, TimelinePage,
    TimelineRequest,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_operator::providers::http::HttpSettings;
use codeagent_simulator::{FaultKind, Matcher, OperationClass, Script, SimulatorOptions};
use futures::StreamExt;
use tokio::time::timeout;

use crate::bench::{Bench, STAGE, WORK, patient};
use crate::subject::Subject;

contract!(
    whoever_says_that_it_tells_events_does,
    a_session_that_nothing_is_known_of_has_no_events,
    every_event_has_one_number_however_it_is_read,
    what_is_read_while_it_happens_is_what_is_read_in_the_end,
    a_further_message_goes_on_in_the_same_numbers,
    a_number_beyond_the_end_is_an_empty_page,
    a_stream_tells_what_pages_tell_whatever_cuts_it,
    an_event_is_no_larger_than_allowed_and_shows_no_key,
    trouble_is_an_error_and_nothing_is_lost_by_it,
    what_is_gone_is_a_gap_and_later_numbers_stay,
);

/// For anything that must happen at all.
const BOUND: Duration = Duration::from_secs(60);

/// A session that is read.
struct Told {
    runs: Vec<MessageRun>,
}

impl Told {
    /// Launches the session that the tests read.
    async fn launched(bench: &Bench) -> Self {
        let launched = bench.launch(&bench.request()).await;
        Self {
            runs: vec![MessageRun {
                message: "prompt".to_owned(),
                session_id: launched.session_id,
                run_id: launched.run_id,
                ended: false,
            }],
        }
    }

    fn session(&self) -> &SessionId {
        &self.runs.last().unwrap().session_id
    }

    /// Lets everything end, and takes note of it.
    async fn end(&mut self, bench: &Bench) {
        bench.pass(3 * WORK);
        let newest = bench.get(self.session()).await;
        assert!(newest.phase.is_terminal());
        let run = self.runs.last_mut().unwrap();
        run.run_id = run.run_id.take().or(newest.run_id);
        run.ended = true;
    }

    /// Sends a further message to a session that has ended.
    async fn say(&mut self, bench: &Bench, name: &str) {
        let follow_ups = bench.provider.follow_ups().unwrap();
        let message = bench.message(self.session(), name);
        let MessageOutcome::Accepted(messaged) = follow_ups.send(&message).await else {
            panic!("{:?}: {name} was not taken", bench.subject);
        };
        self.runs.push(MessageRun {
            message: name.to_owned(),
            session_id: messaged.session_id,
            run_id: messaged.run_id,
            ended: false,
        });
    }

    fn request(&self, since: u64, from: Option<Position>) -> TimelineRequest {
        TimelineRequest {
            runs: self.runs.clone(),
            since,
            from,
        }
    }

    /// Everything, in one way of reading it. The session has ended.
    async fn all(&self, provider: &dyn Provider, limit: usize, keep_place: bool) -> Vec<Event> {
        let reading = async {
            let (mut events, mut since, mut from) = (Vec::new(), 0, None);
            loop {
                let page = page(provider, &self.request(since, from.take()), limit).await;
                assert!(page.events.len() <= limit);
                since = page.events.last().map_or(since, |event| event.seq);
                events.extend(page.events);
                from = keep_place.then_some(page.position);
                if page.next == NextPage::Never {
                    return events;
                }
            }
        };
        timeout(BOUND, reading).await.unwrap()
    }
}

async fn page(provider: &dyn Provider, request: &TimelineRequest, limit: usize) -> TimelinePage {
    let timeline = provider.timeline().unwrap();
    timeline.page(request, limit).await.unwrap()
}

fn timeline(bench: &Bench) -> Option<&dyn Timeline> {
    bench.provider.timeline()
}

#[track_caller]
fn assert_dense(events: &[Event]) {
    let mut last = 0;
    for event in events {
        let first = match event.entry.kind {
            EventType::Gap => event.entry.payload["firstSeq"].as_u64().unwrap(),
            _ => event.seq,
        };
        assert_eq!(first, last + 1, "{event:?}");
        assert!(event.seq >= first);
        last = event.seq;
    }
}

/// A stream is read to its end, however long a slow machine takes to tell it.
fn to_the_end() -> HttpSettings {
    HttpSettings {
        stream_quiet: BOUND,
        ..patient()
    }
}

/// A bench whose sessions have all ended when they are read.
async fn bench(subject: Subject) -> Bench {
    bench_with(subject, to_the_end()).await
}

/// A bench whose sessions work for a short while, so that there is not too much to read.
async fn bench_with(subject: Subject, settings: HttpSettings) -> Bench {
    let brief = Script {
        pending: Some(STAGE),
        creating: Some(STAGE),
        setup: Some(STAGE),
        running: Some(Duration::from_secs(20)),
        ..Script::default()
    };
    Bench::with(subject, |options| options.script = brief, settings).await
}

async fn whoever_says_that_it_tells_events_does(subject: Subject) {
    let bench = bench(subject).await;
    let (can, streams) = (
        subject.can(Capability::Events),
        subject.can(Capability::Streaming),
    );
    assert_eq!(timeline(&bench).is_some(), can);
    assert_eq!(bench.provider.timeline_stream().is_some(), streams);
    assert!(can || !streams, "a stream alone cannot be numbered");
}

async fn a_session_that_nothing_is_known_of_has_no_events(subject: Subject) {
    let bench = bench(subject).await;
    if timeline(&bench).is_none() {
        return;
    }
    let page = page(&*bench.provider, &TimelineRequest::default(), 10).await;
    assert_eq!(page.events, []);
    assert!(bench.requests(OperationClass::Events).is_empty());
}

async fn every_event_has_one_number_however_it_is_read(subject: Subject) {
    let bench = bench(subject).await;
    if timeline(&bench).is_none() {
        return;
    }
    let mut told = Told::launched(&bench).await;
    told.end(&bench).await;
    let whole = told.all(&*bench.provider, MAX_PAGE, false).await;
    assert!(whole.len() >= 2, "{whole:?}");
    assert_dense(&whole);
    assert!(
        whole
            .iter()
            .all(|event| event.entry.message.as_deref() == Some("prompt"))
    );
    // As after a restart, or on another replica.
    let other = bench.connect(subject.credential()).unwrap();
    for limit in [1, 3, MAX_PAGE + 1] {
        for keep_place in [false, true] {
            let again = told.all(&*other, limit.min(MAX_PAGE), keep_place).await;
            assert_eq!(again, whole, "{limit} {keep_place}");
        }
    }
    for since in 0..=whole.len() as u64 {
        let page = page(&*other, &told.request(since, None), 2).await;
        let rest = &whole[usize::try_from(since).unwrap()..];
        assert_eq!(page.events, rest[..rest.len().min(2)], "{since}");
    }
}

async fn what_is_read_while_it_happens_is_what_is_read_in_the_end(subject: Subject) {
    // A page of what still happens ends with a short silence; what it misses is in the next.
    let bench = bench_with(subject, patient()).await;
    if timeline(&bench).is_none() {
        return;
    }
    let mut told = Told::launched(&bench).await;
    let (mut early, mut from) = (Vec::<Event>::new(), None);
    for _ in 0..8 {
        bench.pass(Duration::from_secs(3));
        let newest = bench.get(told.session()).await;
        let run = told.runs.last_mut().unwrap();
        run.run_id = run.run_id.take().or(newest.run_id);
        let since = early.last().map_or(0, |event| event.seq);
        let page = page(&*bench.provider, &told.request(since, from.take()), 100).await;
        assert_ne!(page.next, NextPage::Never);
        early.extend(page.events);
        from = Some(page.position);
    }
    told.end(&bench).await;
    let whole = told.all(&*bench.provider, MAX_PAGE, false).await;
    assert_eq!(early, whole[..early.len()]);
    let place = from.unwrap();
    let since = early.last().map_or(0, |event| event.seq);
    assert_eq!(place.seq(), since);
    let rest = page(&*bench.provider, &told.request(since, Some(place)), 2)
        .await
        .events;
    assert_eq!(rest, whole[early.len()..][..rest.len()]);
}

/// A session that has ended, was sent a further message and has ended again, with what the first message's end told.
async fn two_messages(bench: &Bench) -> (Told, Vec<Event>) {
    let mut told = Told::launched(bench).await;
    told.end(bench).await;
    let first = told.all(&*bench.provider, MAX_PAGE, false).await;
    told.say(bench, "more").await;
    told.end(bench).await;
    (told, first)
}

async fn a_further_message_goes_on_in_the_same_numbers(subject: Subject) {
    let bench = bench(subject).await;
    if timeline(&bench).is_none() || bench.provider.follow_ups().is_none() {
        return;
    }
    let (told, first) = two_messages(&bench).await;
    let both = told.all(&*bench.provider, 7, true).await;
    assert_dense(&both);
    assert_eq!(both[..first.len()], first);
    let later = &both[first.len()..];
    assert!(!later.is_empty());
    for event in later {
        assert_eq!(event.entry.message.as_deref(), Some("more"), "{event:?}");
    }
    assert_eq!(told.all(&*bench.provider, MAX_PAGE, false).await, both);
}

async fn a_number_beyond_the_end_is_an_empty_page(subject: Subject) {
    let bench = bench(subject).await;
    if timeline(&bench).is_none() {
        return;
    }
    let mut told = Told::launched(&bench).await;
    told.end(&bench).await;
    for since in [1 << 20, 1 << 53, u64::MAX] {
        let page = page(&*bench.provider, &told.request(since, None), 10).await;
        assert_eq!((page.events.len(), page.next), (0, NextPage::Never));
    }
}

async fn a_stream_tells_what_pages_tell_whatever_cuts_it(subject: Subject) {
    let bench = bench(subject).await;
    let Some(stream) = bench.provider.timeline_stream() else {
        return;
    };
    let mut told = Told::launched(&bench).await;
    bench.begin_work();
    // Every connection is cut somewhere: in an event, in a character, between two.
    for bytes in [1, 10, 300, 700, 1000, 1777] {
        bench.fault(
            OperationClass::Events,
            FaultKind::CutStream { after_bytes: bytes },
        );
    }
    let request = told.request(0, None);
    let mut following = stream.follow(request);
    let read = async {
        let mut events: Vec<Event> = Vec::new();
        loop {
            // The stream is read while the session proceeds.
            match timeout(Duration::from_millis(50), following.next()).await {
                Ok(Some(event)) => events.push(event.unwrap()),
                Ok(None) => return events,
                Err(_) => bench.pass(Duration::from_secs(5)),
            }
        }
    };
    let streamed = timeout(BOUND, read).await.unwrap();
    told.end(&bench).await;
    bench.simulator.clear_faults();
    let whole = told.all(&*bench.provider, MAX_PAGE, false).await;
    assert_eq!(streamed, whole);
    let since = whole.len() as u64 - 2;
    let rest = stream.follow(told.request(since, None));
    let rest: Vec<Event> = rest.map(Result::unwrap).collect().await;
    assert_eq!(rest, whole[whole.len() - 2..]);
}

async fn an_event_is_no_larger_than_allowed_and_shows_no_key(subject: Subject) {
    let credential = subject.credential();
    let keys: Vec<String> = credential.values().map(str::to_owned).collect();
    let words = format!("{} {}", keys.join(" "), "é".repeat(60_000));
    let change = |options: &mut SimulatorOptions| options.script.result = Some(words);
    let bench = Bench::with(subject, change, to_the_end()).await;
    if timeline(&bench).is_none() {
        return;
    }
    let mut told = Told::launched(&bench).await;
    told.end(&bench).await;
    let events = told.all(&*bench.provider, MAX_PAGE, true).await;
    assert_dense(&events);
    for event in &events {
        let entry = &event.entry;
        assert!(entry.text.len() <= TEXT_BYTES);
        assert!(entry.payload.to_string().len() <= PAYLOAD_BYTES);
        let written = serde_json::to_string(event).unwrap();
        for key in &keys {
            assert!(!written.contains(key.as_str()), "{written}");
        }
    }
}

async fn trouble_is_an_error_and_nothing_is_lost_by_it(subject: Subject) {
    let bench = bench(subject).await;
    let Some(timeline) = timeline(&bench) else {
        return;
    };
    let mut told = Told::launched(&bench).await;
    told.end(&bench).await;
    let whole = told.all(&*bench.provider, MAX_PAGE, false).await;
    let refused = |status: u16| FaultKind::ErrorBefore {
        status,
        code: "trouble".to_owned(),
    };
    for (fault, class) in [
        (refused(500), ErrorClass::Unavailable),
        (refused(401), ErrorClass::Unauthorized),
        (FaultKind::DropBefore, ErrorClass::Unavailable),
        (FaultKind::WebPage { status: 200 }, ErrorClass::Intermediary),
    ] {
        bench.fault(OperationClass::Events, fault.clone());
        let error = timeline.page(&told.request(1, None), 10).await;
        assert_eq!(error.unwrap_err().class, class, "{fault:?}");
    }
    bench.simulator.clear_faults();
    assert_eq!(told.all(&*bench.provider, 3, true).await, whole);
}

async fn what_is_gone_is_a_gap_and_later_numbers_stay(subject: Subject) {
    let bench = bench(subject).await;
    if timeline(&bench).is_none() || bench.provider.follow_ups().is_none() {
        return;
    }
    let (told, first) = two_messages(&bench).await;
    let both = told.all(&*bench.provider, MAX_PAGE, false).await;
    let known = page(&*bench.provider, &told.request(both.len() as u64, None), 1).await;
    let [launched, messaged] = told.runs.as_slice() else {
        panic!()
    };
    match &launched.run_id {
        // Cursor v1 forgets the stream of a run.
        Some(run) if subject.can(Capability::Streaming) => {
            let when = Matcher {
                path_contains: Some(format!("/runs/{run}/stream")),
                ..Matcher::default()
            };
            let status = 410;
            let code = "stream_expired".to_owned();
            bench.always(when, FaultKind::ErrorBefore { status, code });
        }
        // Where both messages are one session's, all of it is gone or none.
        _ if launched.session_id == messaged.session_id => return,
        _ => assert!(bench.remove(launched.session_id.as_str()).await),
    }
    // Whoever knows how long it was keeps every number.
    let told_again = page(
        &*bench.provider,
        &told.request(0, Some(known.position)),
        MAX_PAGE,
    )
    .await;
    let (gap, rest) = told_again.events.split_first().unwrap();
    assert_eq!(
        (gap.entry.kind, gap.seq),
        (EventType::Gap, first.len() as u64)
    );
    assert_eq!(rest, &both[first.len()..]);
    // Whoever does not is told the rest under higher numbers, and misses none of it.
    for since in [0, 1, both.len() as u64] {
        let page = page(&*bench.provider, &told.request(since, None), MAX_PAGE).await;
        let (gap, rest) = page.events.split_first().unwrap();
        assert_eq!(gap.entry.kind, EventType::Gap);
        assert_eq!(gap.entry.payload["firstSeq"], since + 1);
        let entries = |events: &[Event]| -> Vec<_> {
            events.iter().map(|event| event.entry.clone()).collect()
        };
        assert_eq!(entries(rest), entries(&both[first.len()..]));
        assert!(
            rest.iter()
                .zip(&both[first.len()..])
                .all(|(now, then)| now.seq > then.seq)
        );
    }
}
