//! What can be done through which provider with this version: the table of the documentation.
#![allow(clippy::unwrap_used)]

mod provider_support;

use std::collections::{BTreeMap, BTreeSet};

use codeagent_operator::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};
use codeagent_operator::providers::contract::Capability;
use codeagent_operator::providers::registry::Registry;
use provider_support::*;

fn v0() -> ProviderSpec {
    ProviderSpec {
        cursor: Some(CursorSpec {
            api_version: Some(CursorApiVersion::V0),
            endpoint: None,
        }),
        ..ProviderSpec::default()
    }
}

/// Columns: Cursor v1, Cursor v0, Firebender, Flapjack, Firetiger.
fn columns() -> [ProviderSpec; 5] {
    [
        spec(ProviderKind::Cursor),
        v0(),
        spec(ProviderKind::Firebender),
        spec(ProviderKind::Flapjack),
        spec(ProviderKind::Firetiger),
    ]
}

const TABLE: &str = "
    Prompt                  yes yes yes yes -
    Issue                   -   -   -   -   yes
    Images                  -   -   -   -   -
    Model                   yes yes yes yes -
    ModelParameters         yes -   -   yes -
    Repository              yes yes yes yes -
    FromPullRequest         -   -   -   -   -
    BranchName              -   yes yes -   -
    WorkOnCurrentBranch     yes -   -   yes -
    AutoCreatePullRequest   yes yes yes yes -
    SkipReviewerRequest     yes yes -   yes -
    OnBehalfOf              -   -   -   -   yes
    RecoverLaunch           yes yes yes yes -
    FollowUp                -   -   -   -   -
    Cancel                  yes yes yes yes -
    Archive                 -   -   -   -   -
    Events                  -   -   -   -   -
    Streaming               -   -   -   -   -
    Webhooks                -   -   -   -   -
    List                    yes yes yes yes -
    ListModels              yes yes -   -   -
    Templates               -   -   -   yes -
    Usage                   yes -   -   -   -
    Cost                    yes -   -   -   -
    Artifacts               -   -   yes -   -
";

#[test]
fn the_table_says_what_every_provider_says_of_itself() {
    let rows: BTreeMap<&str, Vec<bool>> = TABLE
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            Some((name, words.map(|word| word == "yes").collect()))
        })
        .collect();
    let said: BTreeMap<&str, Vec<bool>> = Capability::ALL
        .iter()
        .map(|capability| {
            let row = columns().into_iter().map(|spec| {
                let provider = Registry::get(spec.kind().unwrap()).unwrap();
                provider.capabilities(&spec).contains(capability)
            });
            (capability.as_str(), row.collect())
        })
        .collect();
    assert_eq!(said, rows);
}

#[test]
fn every_capability_is_listed_once_in_order_under_a_name_of_its_own() {
    assert!(Capability::ALL.is_sorted());
    let names: BTreeSet<_> = Capability::ALL.iter().map(|one| one.as_str()).collect();
    assert_eq!(names.len(), Capability::ALL.len());
    assert!(names.len() >= 20);
}
