//! Every provider there is.

use super::contract::ProviderType;
use super::cursor::Cursor;
use super::firebender::Firebender;
use super::firetiger::FiretigerType;
use super::flapjack::FlapjackType;
use crate::api::ProviderKind;

/// The providers that this build can talk to.
static PROVIDERS: &[&dyn ProviderType] = &[&Cursor, &Firebender, &FlapjackType, &FiretigerType];

/// Looks up providers.
#[derive(Clone, Copy, Debug)]
pub struct Registry;

impl Registry {
    /// Every provider, in the order of the documentation.
    pub fn all() -> &'static [&'static dyn ProviderType] {
        PROVIDERS
    }

    /// The provider of this kind, if this build can talk to it.
    pub fn get(kind: ProviderKind) -> Option<&'static dyn ProviderType> {
        Self::all()
            .iter()
            .find(|provider| provider.kind() == kind)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::ProviderSpec;

    #[test]
    fn each_kind_stands_there_once_and_is_found() {
        for provider in Registry::all() {
            let found = Registry::get(provider.kind()).unwrap();
            assert!(std::ptr::addr_eq(found, *provider));
            let endpoint = found.default_endpoint(&ProviderSpec::default());
            assert_eq!(endpoint.scheme(), "https");
        }
    }
}
