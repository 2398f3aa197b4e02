//! The id and the name that an agent is given: both are made of the launch's key, so that it can be found again.

use crate::domain::ids::{InstallationId, LaunchKey};

/// The id that we give an agent.
pub(super) fn agent_id(key: &LaunchKey) -> String {
    format!("bc-{key}")
}

/// What the end of an agent's name tells: v1 lets nobody read a prompt, and with it the marker.
pub(super) struct Named<'a> {
    /// [`LaunchKey::short`] of its key.
    pub(super) key: &'a str,
    pub(super) installation: InstallationId,
}

/// What the name that we give an agent ends with, for people and for whoever looks for it.
pub(super) fn name_suffix(key: &LaunchKey, installation: Option<&InstallationId>) -> String {
    match installation {
        Some(installation) => format!(" [{} {installation}]", key.short()),
        None => format!(" [{}]", key.short()),
    }
}

/// Reads [`name_suffix`] again.
pub(super) fn named(name: &str) -> Option<Named<'_>> {
    let (_, suffix) = name.strip_suffix(']')?.rsplit_once(" [")?;
    let (key, installation) = suffix.split_once(' ')?;
    (is_digits(key) && is_digits(installation)).then(|| Named {
        key,
        installation: InstallationId::new(installation),
    })
}

/// The digits of a key that a name ends with, if it names no installation.
pub(super) fn key_digits(name: &str) -> Option<&str> {
    let (_, digits) = name.strip_suffix(']')?.rsplit_once(" [")?;
    is_digits(digits).then_some(digits)
}

fn is_digits(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
