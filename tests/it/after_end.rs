//! What a provider reports only after a session has ended.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::Provider;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of};

for_each_provider!(a_pull_request_that_comes_after_the_end_is_found_by_a_successor);

/// The session is over and its object no longer held: whoever leads next looks for what was missing all the same.
async fn a_pull_request_that_comes_after_the_end_is_found_by_a_successor(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::impatient().with("--after-end", "3s");
    let operator = world.operator_with(arguments.clone()).await;
    let task = "sim: running=500ms pr_after=3s\nFix it";
    world.session(provider, "fix", task).await;
    world.until_phase("fix", SessionPhase::Finished).await;
    let ended = world.until_settled("fix").await;
    let missing = condition_of(&ended, "PullRequestCreated").unwrap();
    assert_eq!(missing.reason, "NoPullRequest");
    operator.stop().await;
    let _successor = world.operator_with(arguments).await;
    let found = world
        .until_reason("fix", "PullRequestCreated", "Created")
        .await;
    let url = found.status.unwrap().pull_request.unwrap().url;
    assert!(url.is_some_and(|url| url.starts_with("https://")));
}
