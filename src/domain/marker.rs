//! The marker: the last lines of every prompt we send, by which an interrupted launch is found again.
//!
//! It is written twice, because a provider may strip comments from what it shows, or text that it takes for noise:
//!
//! ```text
//! <!-- codeagents.dev/INSTALLATION/UID/ATTEMPT -->
//! codeagents.dev ref INSTALLATION/UID/ATTEMPT
//! ```
//!
//! For a follow-up the last part is `m/NAME`. Either line is enough, in whatever spelling a provider shows it.

use std::fmt;

use super::ids::InstallationId;
use super::markup;

const OPENING: &str = "<!-- codeagents.dev/";
const CLOSING: &str = " -->";
const NAME: &str = "codeagents.dev";
/// The word between name and path in the plain line.
const REF: &str = "ref";
/// How far behind the name its `ref` may stand, in bytes: a renderer that makes a link of the name puts the target between.
const REF_WITHIN: usize = 64;

/// What a marker says.
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

    /// The last marker in `text`, if there is one: in either form, also with escaped characters, inside tags or on one line
    /// with other text.
    ///
    /// Providers are free to append to a prompt, so it need not stand at the end; where there are several, only the last was
    /// written by us (a prompt that contains one is refused before it is sent). One that was cut short is none.
    pub fn find(text: &str) -> Option<Self> {
        if !text.contains("codeagents") {
            return None;
        }
        let plain = markup::unescaped(text);
        plain
            .rmatch_indices(NAME)
            .find_map(|(at, _)| Self::parse(plain.get(at + NAME.len()..)?))
    }

    /// Whether `text` ends in the middle of a marker, as one does that was cut off there.
    pub fn has_remains(text: &str) -> bool {
        if !text.contains("codeagents") {
            return false;
        }
        let plain = markup::unescaped(text);
        let last = plain.trim_end().rsplit('\n').next().unwrap_or_default();
        last.contains(OPENING.trim_end_matches('/')) || last.trim_start().starts_with(NAME)
    }

    /// Whether `text` contains something that could be taken for a marker. Such a prompt is never sent.
    pub fn looks_marked(text: &str) -> bool {
        if !text.contains("codeagents") {
            return false;
        }
        let plain = markup::unescaped(text);
        plain.contains(OPENING)
            || plain
                .match_indices(NAME)
                .any(|(at, _)| plain.get(at + NAME.len()..).and_then(plain_path).is_some())
    }

    /// Whether this marker names a launch (of any attempt) of the session with `uid`, sent by `installation`.
    pub fn is_launch_of(&self, installation: &InstallationId, uid: &str) -> bool {
        self.installation == *installation
            && self.uid == uid
            && matches!(self.subject, MarkerSubject::Launch(_))
    }

    /// Whether this marker names this follow-up message of the session with `uid`, sent by `installation`.
    pub fn is_message_of(&self, installation: &InstallationId, uid: &str, name: &str) -> bool {
        let named = MarkerSubject::Message(name.to_owned());
        self.installation == *installation && self.uid == uid && self.subject == named
    }

    /// Reads what follows the name.
    fn parse(rest: &str) -> Option<Self> {
        let path = match rest.strip_prefix('/') {
            Some(path) => comment_path(path)?,
            None => plain_path(rest)?,
        };
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

    fn path(&self) -> String {
        let Self {
            installation, uid, ..
        } = self;
        match &self.subject {
            MarkerSubject::Launch(attempt) => format!("{installation}/{uid}/{attempt}"),
            MarkerSubject::Message(name) => format!("{installation}/{uid}/m/{name}"),
        }
    }
}

/// The path in a comment. Without the comment's end it may have been cut.
fn comment_path(rest: &str) -> Option<&str> {
    let end = rest.find(|c: char| c.is_whitespace() || c == '>')?;
    let (path, rest) = rest.split_at(end);
    if rest.starts_with('>') {
        return path.strip_suffix("--");
    }
    // Typographers make a dash of two hyphens.
    let closing = ["-->", "\u{2013}>", "\u{2014}>"];
    let rest = rest.trim_start();
    closing
        .iter()
        .any(|end| rest.starts_with(end))
        .then_some(path)
}

/// The path in a plain line.
fn plain_path(rest: &str) -> Option<&str> {
    let (at, _) = rest.match_indices(REF).find(|(at, _)| {
        let before = rest
            .get(..*at)
            .and_then(|before| before.chars().next_back());
        let after = rest
            .get(at + REF.len()..)
            .and_then(|after| after.chars().next());
        let apart = |c: Option<char>| c.is_some_and(|c| !c.is_alphanumeric());
        *at <= REF_WITHIN && apart(before) && apart(after)
    })?;
    let path = rest.get(at + REF.len()..)?;
    let path = path.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let end = path
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '_')))
        .unwrap_or(path.len());
    let path = path.get(..end)?.trim_end_matches('.');
    (path.matches('/').count() >= 2).then_some(path)
}

/// Both lines, as they stand at the end of a prompt.
impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path();
        write!(f, "{OPENING}{path}{CLOSING}\n{NAME} {REF} {path}")
    }
}

/// A prompt of ours without the marker under it.
pub fn unmarked(prompt: &str) -> &str {
    let end = prompt.rfind(OPENING).unwrap_or(prompt.len());
    prompt.get(..end).unwrap_or(prompt).trim_end()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATH: &str = "0a1b2c3d/6f0c1d2e-0000-4000-8000-000000000001/1";

    fn us() -> InstallationId {
        InstallationId::new("0a1b2c3d")
    }

    fn ours() -> Marker {
        Marker::launch(us(), "6f0c1d2e-0000-4000-8000-000000000001", 1)
    }

    #[test]
    fn what_is_written_is_found_again_among_other_lines() {
        for subject in [
            MarkerSubject::Launch(2),
            MarkerSubject::Message("add--tests".into()),
        ] {
            let marker = Marker {
                installation: us(),
                uid: "6f0c".into(),
                subject,
            };
            let text = format!("Fix it\n\n{marker}\nThanks, appended by the provider");
            assert_eq!(Marker::find(&text).unwrap(), marker);
            assert!(Marker::looks_marked(&text));
        }
    }

    #[test]
    fn either_line_is_enough_in_every_spelling_that_a_provider_may_show() {
        for shown in [
            format!("Fix it\n<!-- codeagents.dev/{PATH} -->"),
            format!("Fix it\ncodeagents.dev ref {PATH}"),
            format!("Fix it codeagents.dev ref {PATH} (sent by the API)"),
            format!("Fix it\n&lt;!-- codeagents.dev/{PATH} --&gt;"),
            format!("Fix it\n&amp;lt;!-- codeagents.dev/{PATH} --&amp;gt;"),
            format!("Fix it\n&#60;!&#45;&#x2d; codeagents.dev/{PATH} &#45;-&#x3E;"),
            format!(r"Fix it \u003c!-- codeagents.dev/{PATH} --\u003e"),
            format!("Fix it <!--codeagents.dev/{PATH}-->"),
            format!("Fix it <!\u{2014} codeagents.dev/{PATH} \u{2014}>"),
            format!("<p>Fix it</p><p>codeagents.dev ref {PATH}</p>"),
            format!(r#"<p><a href="http://codeagents.dev">codeagents.dev</a> ref {PATH}</p>"#),
            format!("[codeagents.dev](http://codeagents.dev) ref {PATH}."),
            format!(r"codeagents\.dev ref {}", PATH.replace('-', r"\-")),
            format!("codeagents.dev\u{a0}ref\u{a0}{PATH}"),
        ] {
            assert_eq!(Marker::find(&shown), Some(ours()), "{shown}");
        }
    }

    #[test]
    fn the_last_marker_counts_and_half_markers_do_not() {
        let text = format!("<!-- codeagents.dev/ffffffff/uid-1/1 -->\n{}", ours());
        assert_eq!(Marker::find(&text).unwrap(), ours());
        for broken in [
            "<!-- codeagents.dev/x/uid -->",
            "<!-- codeagents.dev/x/uid/one -->",
            "<!-- codeagents.dev//uid/1 -->",
            "<!-- codeagents.dev/x/uid/1",
            "<!-- codeagents.dev/x/uid/m/ -->",
            "codeagents.dev ref x/uid",
            "codeagents.dev ref x/uid/",
            "codeagents.dev ref x/uid/one",
            "codeagents.dev ref",
            "apiVersion: codeagents.dev/v1alpha1\nkind: CodeAgent",
        ] {
            assert_eq!(Marker::find(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_text_cut_at_any_place_says_the_truth_or_nothing() {
        let text = format!("Fix it\n\n{}", ours());
        for (at, _) in text.char_indices() {
            if let Some(found) = Marker::find(&text[..at]) {
                assert_eq!(found, ours(), "cut at {at}");
            }
        }
    }

    #[test]
    fn prompts_that_only_speak_of_the_operator_are_no_markers() {
        for prompt in [
            "Fix src/api of the operator at codeagents.dev, with references to a/b/c",
            "kubectl annotate secret x codeagents.dev/allowed-hosts=example.com",
            "apiVersion: codeagents.dev/v1alpha1",
            "codeagents.dev refuses a/b/c",
        ] {
            assert!(!Marker::looks_marked(prompt), "{prompt}");
        }
        for prompt in [
            "x <!-- codeagents.dev/ y",
            "&lt;!-- codeagents.dev/a/b/1",
            "codeagents.dev ref a/b/1",
            "codeagents.dev &#114;ef a/b/1",
        ] {
            assert!(Marker::looks_marked(prompt), "{prompt}");
        }
    }

    #[test]
    fn another_installation_or_another_session_is_never_ours() {
        let marker = Marker::launch(us(), "uid-1", 1);
        assert!(marker.is_launch_of(&us(), "uid-1"));
        assert!(!marker.is_launch_of(&us(), "uid-2"));
        assert!(!marker.is_launch_of(&InstallationId::new("ffffffff"), "uid-1"));
    }
}
