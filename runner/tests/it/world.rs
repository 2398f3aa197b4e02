//! A Pod for one message: folders, an agent that does what a script says, a repository's host, and the runner itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use codeagent_runner_protocol::{Event, EventType, Report};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Server, TOKEN};

/// The conversation of the recordings that are replayed.
pub const CLAUDE: &str = "4f08f8c4-0f4e-43b5-93c2-160cbf4b4e24";
pub const GEMINI: &str = "7264038f-bb39-4d2a-b174-1969d26ce2f9";
/// Codex chooses it: the recording's own.
pub const CODEX: &str = "01a22a5e-1c7e-7b12-b5c2-68b4ff3c63b7";

/// Nothing takes this long, on no machine.
pub const BOUND: Duration = Duration::from_secs(120);

/// The agent: writes down how it was called, then does what the script says.
const AGENT: &str = r#"#!/bin/sh
printf '%s\n' "$@" > "$FAKE/args"
env > "$FAKE/env"
cat > "$FAKE/prompt"
. "$FAKE/script"
"#;

pub struct World {
    pub dir: TempDir,
    pub server: Server,
    /// Variables beside the usual ones.
    pub env: BTreeMap<String, String>,
    /// A program that starts the runner: it gets the runner's command line behind these arguments.
    pub starter: Vec<String>,
    runtime: tokio::runtime::Runtime,
}

/// How a run ended.
pub struct Ended {
    pub code: i32,
    pub report: Report,
    pub events: Vec<Event>,
    pub stderr: String,
}

impl Ended {
    pub fn texts(&self, kind: EventType) -> Vec<&str> {
        let events = self.events.iter().filter(|event| event.kind == kind);
        events.map(|event| event.text.as_str()).collect()
    }
}

/// A runner that runs.
pub struct Running {
    pub child: Child,
    pub lines: mpsc::Receiver<String>,
    pub seen: Vec<String>,
    report: PathBuf,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(Server::start(dir.path()));
        let world = Self {
            dir,
            server,
            env: BTreeMap::new(),
            starter: Vec::new(),
            runtime,
        };
        for folder in ["bin", "home", "workspace", "task", "fake", "git"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        for program in ["claude", "codex", "gemini", "agent", "program"] {
            let file = world.path("bin").join(program);
            fs::write(&file, AGENT).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        world.make_repository();
        world.set_token(TOKEN);
        world
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn set_token(&self, token: &str) {
        fs::write(self.path("git/token"), format!("{token}\n")).unwrap();
    }

    /// `acme/app` with one commit on `main`.
    fn make_repository(&self) {
        let source = self.path("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("README.md"), "# app\n").unwrap();
        self.git(&source, &["init", "-q", "-b", "main"]);
        self.git(&source, &["add", "-A"]);
        self.git(&source, &["commit", "-q", "-m", "First"]);
        let bare = self.bare();
        fs::create_dir_all(bare.parent().unwrap()).unwrap();
        self.git(
            self.dir.path(),
            &["clone", "-q", "--bare", "source", bare.to_str().unwrap()],
        );
        self.git(&bare, &["config", "http.receivepack", "true"]);
    }

    pub fn bare(&self) -> PathBuf {
        self.server.root.join("acme/app.git")
    }

    /// git as somebody else uses it.
    pub fn git(&self, dir: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Somebody",
                "-c",
                "user.email=somebody@example.com",
            ])
            .args(args)
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A task without a repository.
    pub fn task(&self, adapter: &str) -> Value {
        let id = if adapter == "Gemini" { GEMINI } else { CLAUDE };
        let mut task = json!({
            "version": 1,
            "adapter": adapter,
            "conversation": {"id": id},
            "git": {"author": {"name": "Agent", "email": "agent@example.com"}},
            "pullRequest": {},
            "session": {"namespace": "team", "name": "fix", "uid": "u", "message": "first", "key": "job-1"},
            "limits": {"gracePeriodSeconds": 60},
        });
        if adapter == "Process" {
            task["command"] = json!(["program"]);
        }
        task
    }

    /// A task with the repository, the branch `codeagent/fix`, and a pull request at this kind of host.
    pub fn task_with_repository(&self, adapter: &str, host: &str) -> Value {
        let mut task = self.task(adapter);
        task["repository"] = json!({"url": self.server.url(), "branch": "codeagent/fix"});
        task["git"]["host"] = json!(host);
        task["pullRequest"] = json!({"create": true});
        task
    }

    /// A line of a script that prints a recording.
    pub fn replay(&self, name: &str) -> String {
        let file = format!("{}/tests/fixtures/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        assert!(Path::new(&file).exists(), "{file}");
        format!("cat '{file}'\n")
    }

    pub fn start(&self, task: &Value, prompt: &str, script: &str) -> Running {
        fs::write(self.path("task/task.json"), task.to_string()).unwrap();
        fs::write(self.path("task/prompt"), prompt).unwrap();
        fs::write(self.path("fake/script"), script).unwrap();
        let report = self.path("termination-log");
        fs::write(&report, "").unwrap();
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            self.path("bin").display()
        );
        let runner = env!("CARGO_BIN_EXE_codeagent-runner").to_owned();
        let mut words = self.starter.iter().chain([&runner]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg("run")
            .arg("--task")
            .arg(self.path("task"))
            .arg("--workspace")
            .arg(self.path("workspace"))
            .arg("--git-token")
            .arg(self.path("git/token"))
            .arg("--report")
            .arg(&report)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("FAKE", self.path("fake"))
            .env("CODEX_API_KEY", "codex-key-0123456789")
            .env("GIT_SSL_CAINFO", &self.server.authority)
            .env("SSL_CERT_FILE", &self.server.authority)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Running {
            child,
            lines,
            seen: Vec::new(),
            report,
        }
    }

    pub fn run(&self, task: &Value, prompt: &str, script: &str) -> Ended {
        let ended = self.start(task, prompt, script).wait();
        self.check_secrets(&ended);
        ended
    }

    /// What holds for every run: the token is nowhere but in its file.
    fn check_secrets(&self, ended: &Ended) {
        let said = format!("{:?} {:?} {}", ended.events, ended.report, ended.stderr);
        assert!(!said.contains(TOKEN), "{said}");
        for file in ["fake/env", "fake/args", "workspace/.git/config"] {
            let text = fs::read_to_string(self.path(file)).unwrap_or_default();
            assert!(!text.contains(TOKEN), "{file}: {text}");
        }
    }

    /// What the agent was called with.
    pub fn called(&self, what: &str) -> String {
        fs::read_to_string(self.path("fake").join(what)).unwrap()
    }

    /// The commit of a branch at the host.
    pub fn at_host(&self, branch: &str) -> Option<String> {
        let reference = format!("refs/heads/{branch}");
        let listed = self.git(
            &self.bare(),
            &["for-each-ref", "--format=%(objectname)", &reference],
        );
        (!listed.is_empty()).then_some(listed)
    }

    pub fn shutdown(self) {
        self.runtime.shutdown_background();
    }
}

impl Running {
    /// Reads until an event's text holds `text`.
    pub fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + BOUND;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            let found = line.contains(text);
            self.seen.push(line);
            if found {
                return;
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn wait(mut self) -> Ended {
        let end = Instant::now() + BOUND;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < end,
                "the runner does not end: {:?}",
                self.seen
            );
            // Whatever it prints has to be read, or it would wait.
            self.seen
                .extend(self.lines.recv_timeout(Duration::from_millis(20)));
        };
        self.seen.extend(self.lines.iter());
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        let message = fs::read_to_string(&self.report).unwrap();
        assert!(message.len() <= 4096, "{}", message.len());
        let report = Report::parse(&message).unwrap_or_else(|| panic!("{message:?} {stderr}"));
        let events = self.seen.iter().map(|line| {
            assert!(line.len() < 16 * 1024, "{}", line.len());
            Event::parse(line).unwrap_or_else(|| panic!("not an event: {line}"))
        });
        let events: Vec<_> = events.collect();
        for (event, seq) in events.iter().zip(1..) {
            assert_eq!(event.seq, seq);
        }
        let code = status.code().unwrap();
        assert_eq!(code, i32::from(report.reason.exit_code()));
        Ended {
            code,
            report,
            events,
            stderr,
        }
    }
}

/// True if a process runs that has `text` in its command line.
pub fn runs(text: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| {
        String::from_utf8_lossy(&line)
            .replace('\0', " ")
            .contains(text)
    })
}
