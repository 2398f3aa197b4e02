//! Namespaces of a node's own: processes, mounts and network. Whatever ends the process that made them, the kernel ends everything
//! in them, so nothing has to be cleaned up in order.

use std::{
    env,
    ffi::OsString,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::binaries::found_in;

const INIT: &str = include_str!("isolation.sh");

/// Names the control groups within the process that runs isolated.
const CGROUP_VARIABLE: &str = "CODEAGENT_NODE_CGROUP";

const CGROUP_PREFIX: &str = "codeagent-node-";

/// Where Debian's packages have the network plugins.
pub(crate) const NETWORK_PLUGINS: &str = "/usr/lib/cni";

/// Where the network plugins keep notes, whatever they are told.
const NETWORK_NOTES: &str = "/var/lib/cni";

/// What is needed beside the control plane's programs, and the Debian packages that have it.
const PROGRAMS: [(&str, &str); 7] = [
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
];

/// How a program that ran isolated ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was killed when its time was over.
    TimedOut,
    /// It was killed by Ctrl-C or SIGTERM.
    Interrupted,
}

/// Whether this machine can run a node; else what it lacks, as a sentence.
///
/// # Errors
///
/// The sentence.
pub fn supported() -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status
        .lines()
        .filter_map(|line| line.strip_prefix("Uid:"))
        .any(|ids| ids.split_whitespace().nth(1) == Some("0"));
    if !root {
        return Err("a kubelet needs root".to_owned());
    }
    let path = env::var_os("PATH");
    let found = |name: &str| found_in(path.as_deref(), name, |_| true).is_some();
    if let Some((name, package)) = PROGRAMS.iter().find(|(name, _)| !found(name)) {
        return Err(format!("there is no {name}: apt-get install {package}"));
    }
    if !Path::new(NETWORK_PLUGINS).join("ptp").is_file() {
        return Err(format!(
            "there is no {NETWORK_PLUGINS}/ptp: apt-get install containernetworking-plugins"
        ));
    }
    // With version 2 a group with processes cannot have groups with limits in it: containers would need a group elsewhere.
    if !hierarchies().is_ok_and(|found| found.iter().any(|path| path.has_controller("memory"))) {
        return Err("only version 1 of the kernel's control groups is supported, and this machine has none for memory".to_owned());
    }
    let namespaces = Command::new("unshare")
        .args(NAMESPACES)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("unshare cannot be run: {error}"))?;
    match namespaces.status.success() {
        true => Ok(()),
        false => Err(format!(
            "this machine allows no namespaces: {}",
            String::from_utf8_lossy(&namespaces.stderr).trim()
        )),
    }
}

const NAMESPACES: [&str; 6] = [
    "--pid",
    "--fork",
    "--kill-child",
    "--net",
    "--mount",
    "--mount-proc",
];

/// Runs `program`, which is this one, again with `arguments`, as root in namespaces of its own, and waits for its end, or until `limit` has passed or
/// this process is interrupted or told to end: then it is killed with everything that it has started. There [`enter`] is to be called first.
///
/// Its temporary files are in the directory `files`, which is made and, in the end, removed.
///
/// # Errors
///
/// If it cannot be started, or its control groups not be made or removed.
pub async fn run(
    program: &Path,
    arguments: &[OsString],
    files: &Path,
    limit: Duration,
) -> io::Result<Ended> {
    fs::create_dir_all(files)?;
    let name = format!("{CGROUP_PREFIX}{}", std::process::id());
    let groups = Groups::create(&name)?;
    let notes = Mountpoint::create(Path::new(NETWORK_NOTES))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = tokio::process::Command::new("unshare")
        .args(NAMESPACES)
        .args(["--", "sh", "-c", INIT, "sh"])
        .arg(program)
        .args(arguments)
        .env(CGROUP_VARIABLE, &name)
        .env("TMPDIR", std::path::absolute(files)?)
        .stdin(Stdio::piped())
        // Ctrl-C on a terminal is for this process, which ends the other one.
        .process_group(0)
        .spawn()?;
    // Held apart, because waiting closes what is in the child's hands.
    let alive = child.stdin.take();
    let ended = tokio::select! {
        status = child.wait() => Ended::Exited(status?),
        () = tokio::time::sleep(limit) => Ended::TimedOut,
        _ = tokio::signal::ctrl_c() => Ended::Interrupted,
        _ = terminate.recv() => Ended::Interrupted,
    };
    drop(alive);
    child.wait().await?;
    drop(notes);
    groups.remove().await?;
    fs::remove_dir_all(files)?;
    Ok(ended)
}

/// Makes the namespaces of [`run`] fit for a node with this address.
///
/// # Errors
///
/// If this process was not started by [`run`], or may not.
pub fn enter(address: Ipv4Addr, service: Ipv4Addr) -> io::Result<()> {
    let name = env::var(CGROUP_VARIABLE)
        .map_err(|_| io::Error::other("this process does not run isolated"))?;
    // Before anything is started. A container's group is made within the one of who makes it.
    for hierarchy in hierarchies()? {
        fs::write(hierarchy.own.join(&name).join("cgroup.procs"), "0")?;
    }
    for directory in ["/run", "/var/log", NETWORK_NOTES] {
        command("mount", &["-t", "tmpfs", "tmpfs", directory])?;
    }
    // A pair, because not every kernel has devices that lead nowhere.
    let (address, service) = (format!("{address}/24"), format!("{service}/32"));
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", &service, "dev", "lo"],
        &[
            "link", "add", "node", "type", "veth", "peer", "name", "outside",
        ],
        &["address", "add", &address, "dev", "node"],
        &["link", "set", "outside", "up"],
        &["link", "set", "node", "up"],
        &["route", "add", "default", "dev", "node"],
    ] {
        command("ip", arguments)?;
    }
    Ok(())
}

fn command(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// A directory to mount on, which is removed if it was not there.
struct Mountpoint(Option<PathBuf>);

impl Mountpoint {
    fn create(path: &Path) -> io::Result<Mountpoint> {
        match fs::create_dir(path) {
            Ok(()) => Ok(Mountpoint(Some(path.to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Mountpoint(None)),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Mountpoint {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Not empty: somebody else uses it by now.
            let _ = fs::remove_dir(path);
        }
    }
}

/// One hierarchy of control groups of version 1.
struct Hierarchy {
    controllers: Vec<String>,
    /// The group of this process in it.
    own: PathBuf,
}

impl Hierarchy {
    fn has_controller(&self, name: &str) -> bool {
        self.controllers.iter().any(|controller| controller == name)
    }
}

fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse_hierarchies(
        &fs::read_to_string("/proc/self/mountinfo")?,
        &fs::read_to_string("/proc/self/cgroup")?,
    ))
}

fn parse_hierarchies(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let groups: Vec<(Vec<&str>, &str)> = groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?.split(',').collect(), parts.next()?))
        })
        .collect();
    mounts
        .lines()
        .filter_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut system = system.split(' ');
            if system.next() != Some("cgroup") {
                return None;
            }
            let options: Vec<&str> = system.nth(1)?.split(',').collect();
            let (controllers, path) = groups.iter().find(|(controllers, _)| {
                controllers
                    .iter()
                    .all(|controller| options.contains(controller))
            })?;
            Some(Hierarchy {
                controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
                own: Path::new(mount.split(' ').nth(4)?).join(path.trim_start_matches('/')),
            })
        })
        .collect()
}

/// The control groups of one node, one in each hierarchy, below the group of this process.
struct Groups {
    directories: Vec<PathBuf>,
}

impl Groups {
    fn create(name: &str) -> io::Result<Groups> {
        let mut directories = Vec::new();
        for hierarchy in hierarchies()? {
            remove_leftovers(&hierarchy.own);
            let directory = hierarchy.own.join(name);
            fs::create_dir(&directory)?;
            // Without processors and memory of its own a group admits no process.
            if hierarchy.has_controller("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(directory.join(file), fs::read(hierarchy.own.join(file))?)?;
                }
            }
            directories.push(directory);
        }
        Ok(Groups { directories })
    }

    /// Once the processes in them have ended, which the kernel may take a moment to see.
    async fn remove(self) -> io::Result<()> {
        for attempt in 0..100 {
            match self
                .directories
                .iter()
                .try_for_each(|directory| remove_tree(directory))
            {
                Ok(()) => return Ok(()),
                Err(error) if attempt == 99 => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(())
    }
}

/// Removes what a run that was killed has left. A group with processes in it cannot be removed.
fn remove_leftovers(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(CGROUP_PREFIX)
        {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// A group and those in it: the files cannot be removed and need not be.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_process_has_one_group_in_each_hierarchy_of_version_1() {
        let found = parse_hierarchies(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
            "5:cpu,cpuacct:/\n4:memory:/jobs/7\n0::/\n",
        );
        let own: Vec<_> = found
            .iter()
            .map(|hierarchy| hierarchy.own.to_str().unwrap())
            .collect();
        assert_eq!(
            own,
            [
                "/sys/fs/cgroup/cpu,cpuacct/",
                "/sys/fs/cgroup/memory/jobs/7"
            ]
        );
        assert!(found[1].has_controller("memory"));
    }
}
