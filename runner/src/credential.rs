//! `codeagent-runner credential`: git's credential helper. git asks it for the one host that the task names, over a pipe; so the token
//! stands in no address, no argument, no variable and no file of the working copy.

use std::io::{self, Read, Write};
use std::path::Path;

/// Answers git's request on `input`: the token, for `host` over https and nothing else.
///
/// # Errors
/// The request cannot be read or answered.
pub fn answer(
    action: &str,
    host: &str,
    user: &str,
    token: &Path,
    mut input: impl Read,
    mut output: impl Write,
) -> io::Result<()> {
    let mut request = String::new();
    input.read_to_string(&mut request)?;
    let asked = |name: &str| {
        let mut lines = request.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    // `store` and `erase` are git's account of what became of it.
    if action != "get" || asked("protocol") != Some("https") || asked("host") != Some(host) {
        return Ok(());
    }
    let token = std::fs::read_to_string(token)?;
    writeln!(output, "username={user}\npassword={}", token.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_token_is_for_one_host_over_https() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "sesame\n").unwrap();
        let said = |action: &str, request: &str| {
            let mut output = Vec::new();
            answer(
                action,
                "git.example.com:8443",
                "me",
                &token,
                request.as_bytes(),
                &mut output,
            )
            .unwrap();
            String::from_utf8(output).unwrap()
        };
        let right = "protocol=https\nhost=git.example.com:8443\npath=acme/app\n\n";
        assert_eq!(said("get", right), "username=me\npassword=sesame\n");
        assert_eq!(said("store", right), "");
        assert_eq!(
            said("get", "protocol=http\nhost=git.example.com:8443\n\n"),
            ""
        );
        assert_eq!(said("get", "protocol=https\nhost=git.example.com\n\n"), "");
        assert_eq!(said("get", "protocol=https\nhost=evil.example.com\n\n"), "");
    }
}
