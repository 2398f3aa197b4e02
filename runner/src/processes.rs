//! The processes below this one. As PID 1 of a container, or as a subreaper elsewhere, this process inherits every orphan of its
//! children: it collects those that ended, and can end those that run, whatever group or session they made for themselves.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use std::os::unix::process::ExitStatusExt as _;

use crate::adapters::Exit;

/// How long killed processes may take to be gone. One that waits for a dead disk does not go at all.
pub const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Starts processes and knows which of those below this one it did not start itself.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// Children that somebody waits for. Locked while one is started, so that none is taken for an orphan.
    own: Arc<Mutex<HashSet<i32>>>,
}

/// A child in a process group of its own. Dropped before its end, it and its group are killed.
#[derive(Debug)]
pub struct Started {
    pub child: Child,
    pid: Option<Pid>,
    processes: Processes,
    ended: bool,
}

impl Processes {
    /// Becomes the parent of every orphan below.
    ///
    /// # Errors
    /// No signals can be received.
    pub fn adopt_orphans() -> io::Result<Self> {
        let processes = Self::default();
        // PID 1 is it anyway.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let mut ended = signal(SignalKind::child())?;
        let reaper = processes.clone();
        tokio::spawn(async move {
            while ended.recv().await.is_some() {
                reaper.collect();
            }
        });
        Ok(processes)
    }

    /// Starts `command` in a process group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, command: &mut Command) -> io::Result<Started> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.process_group(0).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        own.extend(pid.map(Pid::as_raw_pid));
        Ok(Started {
            child,
            pid,
            processes: self.clone(),
            ended: false,
        })
    }

    /// Ends every process below this one: told first, killed after `grace`. True if none is left.
    pub async fn end_all(&self, grace: Duration) -> bool {
        let told_until = Instant::now() + grace;
        let killed_until = told_until + GONE_WITHIN;
        let mut told = HashSet::new();
        loop {
            self.collect();
            let running = descendants();
            if running.is_empty() {
                return true;
            }
            let now = Instant::now();
            if now >= killed_until {
                return false;
            }
            for pid in running {
                if now >= told_until {
                    send(pid, Signal::KILL);
                } else if told.insert(pid) {
                    send(pid, Signal::TERM);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Signals every process below this one.
    pub fn signal_all(&self, signal: Signal) {
        for pid in descendants() {
            send(pid, signal);
        }
    }

    /// Takes the exit status of orphans that ended, so that they do not fill the table of processes.
    fn collect(&self) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = rustix::process::getpid().as_raw_pid();
        for process in processes() {
            if process.parent == parent && process.ended && !own.contains(&process.pid) {
                let _ = rustix::process::waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
            }
        }
    }
}

impl Started {
    /// Signals the whole group.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.filter(|_| !self.ended) {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    /// Waits for the end of the child itself; others of its group may go on.
    ///
    /// # Errors
    /// There is no such child any more.
    pub async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.child.wait().await;
        self.release();
        status.map(exit)
    }

    fn release(&mut self) {
        self.ended = true;
        if let Some(pid) = self.pid {
            let mut own = self
                .processes
                .own
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            own.remove(&pid.as_raw_pid());
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.release();
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

struct Process {
    pid: i32,
    parent: i32,
    /// Ended, and not collected yet.
    ended: bool,
}

/// Every process that runs below this one.
fn descendants() -> Vec<i32> {
    let all = processes();
    let mut found = vec![rustix::process::getpid().as_raw_pid()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = all.iter().filter(|process| process.parent == parent);
        let running = children.filter(|process| !process.ended);
        let pids: Vec<_> = running.map(|process| process.pid).collect();
        found.extend(pids);
        next += 1;
    }
    found.split_off(1)
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            process(pid, &String::from_utf8_lossy(&stat))
        })
        .collect()
}

/// `PID (NAME) STATE PPID …`; the name may hold anything, also spaces and parentheses.
fn process(pid: i32, stat: &str) -> Option<Process> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = words.next()?;
    Some(Process {
        pid,
        parent: words.next()?.parse().ok()?,
        ended: matches!(state, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let read = process(7, "7 (a) S 1 (b)) Z 42 7 7 0").unwrap();
        assert_eq!((read.parent, read.ended), (42, true));
        assert!(process(7, "").is_none());
    }
}
