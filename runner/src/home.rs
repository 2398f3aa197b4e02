//! What the agents keep in `HOME`: conversations that can be resumed, and the settings without which they do not work headlessly.

use std::env;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use codeagent_runner_protocol::{Adapter, Conversation, Reason};
use serde_json::Value;

use crate::adapters::{self, Start};
use crate::failure::Failure;

/// Where the runner remembers the agents' own ids of conversations, below `HOME`.
const REMEMBERED: &str = ".codeagent/conversations";

/// How much of a file is searched for the id of a conversation.
const SEARCHED_BYTES: u64 = 256 * 1024;

/// The agent's home.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How this message has to be begun: resumed where the agent has the conversation stored, also where a first try was cut off, since
    /// its id is used up then. Looked up before anything is spent.
    ///
    /// # Errors
    /// `ConversationLost` if the message has to go on with a conversation that is not there.
    pub fn start(&self, adapter: Adapter, conversation: &Conversation) -> Result<Start, Failure> {
        let id = match adapter {
            Adapter::Process => return Ok(Start::New(conversation.id.clone())),
            Adapter::Claude | Adapter::Gemini => Some(conversation.id.clone()),
            Adapter::Codex | Adapter::CursorCLI => self.remembered(&conversation.id),
        };
        match id.filter(|id| self.is_stored(adapter, id)) {
            Some(id) => Ok(Start::Resume(id)),
            None if conversation.resume => Err(Failure::new(
                Reason::ConversationLost,
                format!(
                    "The agent's conversation {} is not in {}: the workspace's volume is another one, or the agent did not store it. Start a new session.",
                    conversation.id,
                    self.dir.display()
                ),
            )),
            None => Ok(Start::New(conversation.id.clone())),
        }
    }

    /// Keeps the agent's own id, for the next message. Whole or not at all.
    ///
    /// # Errors
    /// `HOME` cannot be written.
    pub fn remember(&self, conversation: &str, own: &str) -> io::Result<()> {
        let dir = self.dir.join(REMEMBERED);
        fs::create_dir_all(&dir)?;
        let new = dir.join(format!("{conversation}.new"));
        fs::write(&new, own)?;
        fs::rename(new, dir.join(conversation))
    }

    fn remembered(&self, conversation: &str) -> Option<String> {
        let own = fs::read_to_string(self.dir.join(REMEMBERED).join(conversation)).ok()?;
        Some(own.trim().to_owned()).filter(|own| !own.is_empty())
    }

    fn is_stored(&self, adapter: Adapter, id: &str) -> bool {
        match adapter {
            Adapter::Claude => {
                let config = self.moved("CLAUDE_CONFIG_DIR", ".claude");
                let transcript = format!("{id}.jsonl");
                entries(&config.join("projects"))
                    .iter()
                    .any(|project| project.join(&transcript).is_file())
            }
            Adapter::Codex => {
                let end = format!("-{id}.jsonl");
                let sessions = self.moved("CODEX_HOME", ".codex").join("sessions");
                // sessions/YEAR/MONTH/DAY/rollout-TIME-ID.jsonl
                let mut level = vec![sessions];
                for _ in 0..4 {
                    level = level.iter().flat_map(|dir| entries(dir)).collect();
                }
                level.iter().any(|file| name(file).ends_with(&end))
            }
            Adapter::Gemini => {
                let projects = entries(&self.dir.join(".gemini/tmp"));
                let mut chats = projects
                    .iter()
                    .flat_map(|project| entries(&project.join("chats")));
                chats.any(|file| name(&file).contains(id) || holds(&file, id))
            }
            // Its own form is not documented; what it said is believed, and checked against its first line.
            Adapter::CursorCLI => true,
            Adapter::Process => false,
        }
    }

    fn moved(&self, variable: &str, usual: &str) -> PathBuf {
        env::var_os(variable)
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| self.dir.join(usual), PathBuf::from)
    }

    /// Checks and writes what the agent needs in its home.
    ///
    /// # Errors
    /// It would not come to its work.
    pub fn prepare(&self, adapter: Adapter) -> Result<(), Failure> {
        match adapter {
            Adapter::Gemini => self.gemini_settings().map_err(|error| {
                let said = format!(
                    "Gemini CLI's settings cannot be written: {error}. HOME has to be writable."
                );
                Failure::new(Reason::AgentStartFailed, said)
            }),
            Adapter::Codex => self.codex_key(),
            Adapter::Claude | Adapter::CursorCLI | Adapter::Process => Ok(()),
        }
    }

    /// Without a key Codex asks the model's API without one, six times; `OPENAI_API_KEY` it does not use.
    fn codex_key(&self) -> Result<(), Failure> {
        let dir = self.moved("CODEX_HOME", ".codex");
        let given = env::var_os("CODEX_API_KEY").is_some_and(|key| !key.is_empty())
            || dir.join("auth.json").exists()
            || dir.join("config.toml").exists();
        if given {
            return Ok(());
        }
        Err(Failure::new(
            Reason::AuthenticationFailed,
            "Codex has no key: set CODEX_API_KEY in the agent's env (OPENAI_API_KEY is not used by codex exec).",
        ))
    }

    /// What is set already stays; a file that is not plain JSON is its writer's business.
    fn gemini_settings(&self) -> io::Result<()> {
        let dir = self.dir.join(".gemini");
        let file = dir.join("settings.json");
        let settings = match fs::read_to_string(&file) {
            Ok(text) => match serde_json::from_str::<Value>(&text) {
                Ok(present) => merged(present, adapters::gemini_settings()),
                Err(_) => return Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => adapters::gemini_settings(),
            Err(error) => return Err(error),
        };
        fs::create_dir_all(&dir)?;
        let new = dir.join("settings.json.new");
        fs::write(&new, settings.to_string())?;
        fs::rename(new, file)
    }
}

/// `present`, and what of `more` is not set in it.
fn merged(present: Value, more: Value) -> Value {
    match (present, more) {
        (Value::Object(mut present), Value::Object(more)) => {
            for (name, value) in more {
                let value = match present.remove(&name) {
                    Some(own) => merged(own, value),
                    None => value,
                };
                present.insert(name, value);
            }
            Value::Object(present)
        }
        (present, _) => present,
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn name(file: &Path) -> &str {
    file.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn holds(file: &Path, id: &str) -> bool {
    let mut beginning = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(SEARCHED_BYTES).read_to_end(&mut beginning))
        .is_ok()
        && String::from_utf8_lossy(&beginning).contains(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const ID: &str = "4f08f8c4-0f4e-43b5-93c2-160cbf4b4e24";
    const OWN: &str = "01a22a5e-1977-72a2-8d17-18dcc45984f9";

    fn start(home: &Home, adapter: Adapter, resume: bool) -> Result<Start, Reason> {
        let conversation = Conversation {
            id: ID.into(),
            resume,
        };
        home.start(adapter, &conversation)
            .map_err(|failure| failure.reason)
    }

    #[test]
    fn what_is_stored_is_resumed_and_what_is_not_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let new = Ok(Start::New(ID.to_owned()));
        for adapter in [
            Adapter::Claude,
            Adapter::Codex,
            Adapter::Gemini,
            Adapter::CursorCLI,
        ] {
            assert_eq!(start(&home, adapter, false), new);
            assert_eq!(start(&home, adapter, true), Err(Reason::ConversationLost));
        }
        assert_eq!(start(&home, Adapter::Process, true), new);

        let files = [
            (".claude/projects/-workspace", format!("{ID}.jsonl")),
            (
                ".codex/sessions/2026/11/30",
                format!("rollout-2026-11-30T02-50-56-{OWN}.jsonl"),
            ),
            (
                ".gemini/tmp/workspace/chats",
                "session-2026-11-30T02-53-4f08f8c4.json".to_owned(),
            ),
        ];
        for (below, name) in files {
            fs::create_dir_all(dir.path().join(below)).unwrap();
            fs::write(
                dir.path().join(below).join(name),
                format!("{{\"sessionId\":\"{ID}\"}}"),
            )
            .unwrap();
        }
        // Codex has a conversation, but not one of this session.
        assert_eq!(start(&home, Adapter::Codex, false), new);
        home.remember(ID, OWN).unwrap();
        for resume in [false, true] {
            let id = Ok(Start::Resume(ID.to_owned()));
            let own = Ok(Start::Resume(OWN.to_owned()));
            assert_eq!(start(&home, Adapter::Claude, resume), id);
            assert_eq!(start(&home, Adapter::Gemini, resume), id);
            assert_eq!(start(&home, Adapter::Codex, resume), own);
            assert_eq!(start(&home, Adapter::CursorCLI, resume), own);
        }
        fs::remove_dir_all(dir.path().join(".codex")).unwrap();
        assert_eq!(
            start(&home, Adapter::Codex, true),
            Err(Reason::ConversationLost)
        );
    }

    #[test]
    fn settings_are_written_and_those_of_the_user_stay() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let file = dir.path().join(".gemini/settings.json");
        let read = || serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap();
        home.prepare(Adapter::Gemini).unwrap();
        assert_eq!(read(), adapters::gemini_settings());
        fs::write(&file, r#"{"general":{"maxAttempts":1},"theme":"x"}"#).unwrap();
        home.prepare(Adapter::Gemini).unwrap();
        assert_eq!(read().pointer("/general/maxAttempts"), Some(&json!(1)));
        assert_eq!(read().pointer("/theme"), Some(&json!("x")));
        let key = "/security/auth/selectedType";
        assert_eq!(read().pointer(key), Some(&json!("gemini-api-key")));
        fs::write(&file, "// mine\n{}").unwrap();
        home.prepare(Adapter::Gemini).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "// mine\n{}");
    }
}
