//! Who can do what: the providers as a user can choose them, so that a refusal can name an alternative.

use std::collections::BTreeSet;

use super::remote::Capability;
use crate::api::ProviderKind;

/// A provider, under the settings that make a difference to what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which provider.
    pub kind: ProviderKind,
    /// The setting that makes the difference, as it stands in a manifest (`apiVersion: v0`); `None` where none does.
    pub variant: Option<&'static str>,
    /// What can be done.
    pub capabilities: BTreeSet<Capability>,
}

impl Offer {
    /// Whether this can be done.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The name for people; with the variant, if there is one: `Cursor (apiVersion: v0)`.
    pub fn full_name(&self) -> String {
        let name = self.kind.display_name();
        match self.variant {
            Some(variant) => format!("{name} ({variant})"),
            None => name.to_owned(),
        }
    }
}

/// Says that `asked` cannot do something, and which of `offers` can: "Firetiger cannot choose a model; Cursor and Flapjack can".
/// A variant is named only where it makes the difference.
pub fn cannot(asked: &Offer, capability: Capability, offers: &[Offer]) -> String {
    let ability = capability.ability();
    let another_variant_can = offers
        .iter()
        .any(|offer| offer.kind == asked.kind && offer.can(capability));
    let name = if another_variant_can {
        asked.full_name()
    } else {
        asked.kind.display_name().to_owned()
    };
    let able: Vec<String> = ProviderKind::ALL
        .into_iter()
        .flat_map(|kind| names_of_the_able(kind, capability, offers))
        .collect();
    match able.split_last() {
        None => format!("{name} cannot {ability}, nor can any provider of this installation"),
        Some((only, [])) => format!("{name} cannot {ability}; {only} can"),
        Some((last, others)) => {
            format!(
                "{name} cannot {ability}; {} and {last} can",
                others.join(", ")
            )
        }
    }
}

fn names_of_the_able(kind: ProviderKind, capability: Capability, offers: &[Offer]) -> Vec<String> {
    let variants = || offers.iter().filter(|offer| offer.kind == kind);
    let able: Vec<&Offer> = variants().filter(|offer| offer.can(capability)).collect();
    if !able.is_empty() && able.len() == variants().count() {
        return vec![kind.display_name().to_owned()];
    }
    able.into_iter().map(Offer::full_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer<const N: usize>(
        kind: ProviderKind,
        variant: Option<&'static str>,
        capabilities: [Capability; N],
    ) -> Offer {
        Offer {
            kind,
            variant,
            capabilities: capabilities.into(),
        }
    }

    fn v1() -> Offer {
        offer(
            ProviderKind::Cursor,
            Some("apiVersion: v1"),
            [Capability::Model, Capability::ModelParameters],
        )
    }

    fn v0() -> Offer {
        offer(
            ProviderKind::Cursor,
            Some("apiVersion: v0"),
            [Capability::Model, Capability::BranchName],
        )
    }

    fn firebender() -> Offer {
        offer(
            ProviderKind::Firebender,
            None,
            [Capability::Model, Capability::BranchName],
        )
    }

    fn flapjack() -> Offer {
        offer(ProviderKind::Flapjack, None, [Capability::Model])
    }

    fn firetiger() -> Offer {
        offer(ProviderKind::Firetiger, None, [Capability::Issue])
    }

    fn all() -> [Offer; 5] {
        [v1(), v0(), firebender(), flapjack(), firetiger()]
    }

    #[test]
    fn everyone_who_can_is_named_in_the_order_of_the_documentation() {
        assert_eq!(
            cannot(&firetiger(), Capability::Model, &all()),
            "Firetiger cannot choose a model; Cursor, Firebender and Flapjack can"
        );
    }

    #[test]
    fn the_variant_is_named_where_it_makes_the_difference() {
        for (asked, capability, sentence) in [
            (
                v1(),
                Capability::BranchName,
                "Cursor (apiVersion: v1) cannot choose the name of the branch; Cursor (apiVersion: v0) and Firebender can",
            ),
            (
                flapjack(),
                Capability::ModelParameters,
                "Flapjack cannot give the model parameters; Cursor (apiVersion: v1) can",
            ),
            (
                v0(),
                Capability::Issue,
                "Cursor cannot work on an issue; Firetiger can",
            ),
        ] {
            assert_eq!(cannot(&asked, capability, &all()), sentence);
        }
    }

    #[test]
    fn only_providers_of_this_installation_are_named() {
        assert_eq!(
            cannot(&firetiger(), Capability::Model, &[firetiger(), flapjack()]),
            "Firetiger cannot choose a model; Flapjack can"
        );
        assert_eq!(
            cannot(&firetiger(), Capability::Model, &[firetiger()]),
            "Firetiger cannot choose a model, nor can any provider of this installation"
        );
    }
}
