//! The marker: the last line of every prompt we send, by which an interrupted launch is found again.
//!
//! `<!-- codeagents.dev/INSTALLATION/UID/ATTEMPT -->`, for a follow-up `…/UID/m/NAME`.

use std::fmt;

use super::ids::InstallationId;

const OPENING: &str = "<!-- codeagents.dev/";
const CLOSING: &str = " -->";

/// What a marker line says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    /// The installation that sent the prompt.
    pub installation: InstallationId,
    /// The uid of the CodeSession the prompt belongs to.
    pub uid: String,
    /// Which prompt of that session it is.
    pub subject: MarkerSubject,
}

/// Which prompt of a session a marker stands under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MarkerSubject {
    /// The first prompt, sent by this launch attempt (counted from 1).
    Launch(i32),
    /// The follow-up message of this name.
    Message(String),
}

impl Marker {
    /// The marker of a launch attempt.
    pub fn launch(installation: InstallationId, uid: impl Into<String>, attempt: i32) -> Self {
        Self {
            installation,
            uid: uid.into(),
            subject: MarkerSubject::Launch(attempt),
        }
    }

    /// The marker in the last marker line of `text`, if there is one.
    ///
    /// Providers are free to append to a prompt, so the line need not be the last one; where several stand in one
    /// text only the last was written by us (a prompt that contains one is refused before it is sent).
    pub fn find(text: &str) -> Option<Self> {
        text.lines().rev().find_map(|line| Self::parse(line.trim()))
    }

    /// Whether `text` contains something that could be taken for a marker. Such a prompt is never sent.
    pub fn looks_marked(text: &str) -> bool {
        text.contains(OPENING)
    }

    /// Whether this marker names a launch (of any attempt) of the session with `uid`, sent by `installation`.
    pub fn is_launch_of(&self, installation: &InstallationId, uid: &str) -> bool {
        self.installation == *installation
            && self.uid == uid
            && matches!(self.subject, MarkerSubject::Launch(_))
    }

    fn parse(line: &str) -> Option<Self> {
        let path = line.strip_prefix(OPENING)?.strip_suffix(CLOSING)?;
        let mut parts = path.splitn(4, '/');
        let (installation, uid, third) = (parts.next()?, parts.next()?, parts.next()?);
        let subject = match (third, parts.next()) {
            ("m", Some(name)) if !name.is_empty() => MarkerSubject::Message(name.to_owned()),
            (attempt, None) => MarkerSubject::Launch(attempt.parse().ok()?),
            _ => return None,
        };
        if installation.is_empty() || uid.is_empty() {
            return None;
        }
        Some(Self {
            installation: InstallationId::new(installation),
            uid: uid.to_owned(),
            subject,
        })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPENING}{}/{}/", self.installation, self.uid)?;
        match &self.subject {
            MarkerSubject::Launch(attempt) => write!(f, "{attempt}")?,
            MarkerSubject::Message(name) => write!(f, "m/{name}")?,
        }
        f.write_str(CLOSING)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_found_again_among_other_lines() {
        for subject in [
            MarkerSubject::Launch(2),
            MarkerSubject::Message("add-tests".into()),
        ] {
            let marker = Marker {
                installation: InstallationId::new("0a1b2c3d"),
                uid: "6f0c".into(),
                subject,
            };
            let text = format!("Fix it\n\n{marker}\nThanks, appended by the provider");
            assert_eq!(Marker::find(&text).unwrap(), marker);
            assert!(Marker::looks_marked(&text));
        }
    }

    #[test]
    fn the_last_marker_counts_and_half_markers_do_not() {
        let ours = Marker::launch(InstallationId::new("0a1b2c3d"), "uid-2", 1);
        let text = format!("<!-- codeagents.dev/ffffffff/uid-1/1 -->\n{ours}");
        assert_eq!(Marker::find(&text).unwrap(), ours);
        for broken in [
            "<!-- codeagents.dev/x/uid -->",
            "<!-- codeagents.dev/x/uid/one -->",
            "<!-- codeagents.dev//uid/1 -->",
            "<!-- codeagents.dev/x/uid/1",
            "<!-- codeagents.dev/x/uid/m/ -->",
        ] {
            assert_eq!(Marker::find(broken), None, "{broken}");
        }
    }

    #[test]
    fn another_installation_or_another_session_is_never_ours() {
        let us = InstallationId::new("0a1b2c3d");
        let marker = Marker::launch(us.clone(), "uid-1", 1);
        assert!(marker.is_launch_of(&us, "uid-1"));
        assert!(!marker.is_launch_of(&us, "uid-2"));
        assert!(!marker.is_launch_of(&InstallationId::new("ffffffff"), "uid-1"));
    }
}
