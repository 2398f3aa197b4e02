//! The images of the Dockerfile, made without Docker.

use std::error::Error;
use std::path::Path;

use codeagent_harness::node::Image;

use crate::world::World;

const DOCKERFILE: &str = include_str!("../../Dockerfile");

/// What the chart is told to run.
pub const OPERATOR: &str = "node.invalid/codeagent-operator";
pub const SIMULATOR: &str = "node.invalid/codeagent-simulator";
pub const TAG: &str = "e2e";

/// Makes both images known to the node.
pub async fn import(world: &World, programs: &Path) -> Result<(), Box<dyn Error>> {
    for (stage, repository) in [("operator", OPERATOR), ("simulator", SIMULATOR)] {
        let program = format!("codeagent-{stage}");
        let image = Image {
            reference: format!("{repository}:{TAG}"),
            program: programs.join(&program),
            path: format!("/{program}"),
            user: instruction(stage, "USER")?.to_owned(),
            entrypoint: serde_json::from_str(instruction(stage, "ENTRYPOINT")?)?,
            // Not every stage has one.
            command: instruction(stage, "CMD")
                .map_or_else(|_| Ok(Vec::new()), serde_json::from_str)?,
        };
        world.cluster.import(&image).await?;
    }
    Ok(())
}

/// An instruction of one stage of the Dockerfile.
fn instruction(stage: &str, name: &str) -> Result<&'static str, Box<dyn Error>> {
    DOCKERFILE
        .split("\nFROM ")
        .find(|text| {
            text.lines()
                .next()
                .is_some_and(|line| line.ends_with(&format!(" AS {stage}")))
        })
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        })
        .ok_or_else(|| format!("the Dockerfile's stage {stage} has no {name}").into())
}
