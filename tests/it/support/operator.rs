//! The real operator in the test's process, which fails the test where it does not do as it is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use codeagent_boundary::operator::Arguments;
use codeagent_boundary::operator::Operator as Running;
use kube::Config;

/// When a start or an orderly stop counts as never ending.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running operator. Dropping it is a crash.
pub struct Operator(Running);

impl Operator {
    /// Starts it as whoever `config` says, and waits until it is ready and what is created from now on is younger than it.
    pub async fn start(config: Config, arguments: &Arguments) -> Self {
        let options = arguments.parse().unwrap();
        let mut operator = Self(Running::start(config, options).unwrap());
        operator.until_ready().await;
        until_next_second().await;
        operator
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.0.has_ended() {
                panic!("the operator ended: {end:?}");
            }
            if let Some(address) = self.0.address()
                && let Ok(answer) = reqwest::get(format!("http://{address}/readyz")).await
                && answer.status().is_success()
            {
                return;
            }
            assert!(Instant::now() < deadline, "the operator is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything it has logged until now.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// Its metrics as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.0.address().unwrap());
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Stops it as a Pod is stopped, and waits until it has ended by itself.
    pub async fn stop(mut self) {
        self.0.ask_to_stop();
        tokio::time::timeout(PATIENCE, self.0.ended())
            .await
            .expect("the operator stops in time")
            .expect("the operator ends without an error");
    }

    /// Ends it without any grace: no request is finished, no record written.
    pub async fn crash(mut self) {
        tokio::time::timeout(PATIENCE, self.0.crash())
            .await
            .expect("the runtime ends");
    }
}

/// Times of creation are whole seconds, rounded down: what is created in the second of the operator's start counts as older
/// than it, and is looked for at the provider before it is launched.
async fn until_next_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let past = Duration::from_nanos(now.subsec_nanos().into());
    tokio::time::sleep(Duration::from_secs(1) - past).await;
}
