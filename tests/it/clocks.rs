//! A provider whose clock is twenty minutes off.

use codeagent_operator::api::{ConditionStatus, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider, SimulatorOptions};
use jiff::SignedDuration;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, pretty, session_id};

for_each_provider!(a_lost_launch_is_found_and_the_difference_is_told);

/// The answer to a launch is lost: the session is found again, paid once, and people are told of the clocks.
async fn a_lost_launch_is_found_and_the_difference_is_told(provider: Provider) {
    for (minutes, told) in [(20_i16, "20 min ahead of"), (-20, "20 min behind")] {
        let world = World::with(SimulatorOptions {
            clock_offset: SignedDuration::from_mins(minutes.into()),
            ..SimulatorOptions::for_tests()
        })
        .await;
        world.agent(provider).await;
        let launch = Matcher::class(OperationClass::Launch);
        let lost = Fault::once(launch, FaultKind::DropAfter);
        world.simulator.inject(lost);
        let operator = world.operator_with(Arguments::impatient()).await;
        let task = "sim: creating=200ms setup=100ms running=1s\nDo it";
        world.session(provider, "one", task).await;
        world.until_phase("one", SessionPhase::Finished).await;
        let done = world.until_settled("one").await;
        assert_eq!(world.launches(&done).len(), 1, "{}", pretty(&done));
        assert_eq!(session_id(&done), world.at_provider(&done).id);
        let launched = condition_of(&done, "Launched").unwrap();
        assert_eq!(launched.reason, "Adopted");
        world
            .until_agent(provider, "told of the clocks", |agent| {
                let status = agent.status.as_ref();
                status.is_some_and(|status| {
                    status.conditions.iter().any(|condition| {
                        condition.kind == "ProviderReachable"
                            && condition.status == ConditionStatus::True
                            && condition.message.contains(told)
                    })
                })
            })
            .await;
        let metrics = operator.metrics().await;
        let ahead: f64 = metrics
            .lines()
            .find(|line| line.starts_with("codeagent_provider_clock_ahead_seconds{"))
            .and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
            .unwrap();
        assert!((ahead - 60.0 * f64::from(minutes)).abs() < 30.0, "{ahead}");
        assert!(
            operator
                .log()
                .contains("further from ours than --clock-margin")
        );
        operator.stop().await;
    }
}
