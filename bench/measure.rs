//! What is measured: CPU time and memory of processes, requests that the API server has answered, how busy the machine is.

use std::fs;
use std::time::Duration;

use kube::Client;

use crate::Trouble;

/// Ticks a second in `/proc/PID/stat`: fixed at 100 for user space on Linux.
const TICKS: u64 = 100;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// In user and kernel mode, since its start.
    pub cpu: Duration,
    /// Resident now, in bytes.
    pub resident: u64,
    /// Resident at most since its start, in bytes.
    pub peak: u64,
}

impl ProcessUsage {
    /// Reads it from `/proc`.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Self, Trouble> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("unreadable stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Fields 14 and 15 of proc(5), counted from the state, which is field 3.
        let ticks = |field: usize| -> Result<u64, Trouble> {
            Ok(fields.get(field - 3).ok_or("short stat")?.parse()?)
        };
        let cpu = ticks(14)? + ticks(15)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kibibytes = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number
                .and_then(|number| number.parse().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            cpu: Duration::from_millis(cpu * 1000 / TICKS),
            resident: kibibytes("VmRSS:") * 1024,
            peak: kibibytes("VmHWM:") * 1024,
        })
    }
}

/// The most that a process has in memory is counted anew, from what it has now.
///
/// # Errors
/// If there is no such process.
pub fn forget_peak(pid: u32) -> Result<(), Trouble> {
    // proc_pid_clear_refs(5): 5 resets VmHWM.
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Requests that the API server has answered, by what they did. Those of the bench itself are counted apart by what only it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiRequests {
    /// PATCH and PUT of sessions, their status included.
    pub session_writes: f64,
    /// GET of one session.
    pub session_reads: f64,
    /// Events.
    pub events: f64,
    /// GET of what a session is made from: CodeAgents, Secrets, ConfigMaps and namespaces.
    pub source_reads: f64,
    /// Pages of lists of sessions.
    pub session_pages: f64,
}

impl ApiRequests {
    /// Reads the API server's counters.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn read(client: &Client) -> Result<Self, Trouble> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await?;
        let count = |labels: &[&str]| sum_of(&text, "apiserver_request_total", labels);
        let sessions = r#"resource="codesessions""#;
        Ok(Self {
            session_writes: count(&[sessions, r#"verb="PATCH""#])
                + count(&[sessions, r#"verb="PUT""#]),
            session_reads: count(&[sessions, r#"verb="GET""#]),
            events: count(&[r#"resource="events""#, r#"verb="POST""#])
                + count(&[r#"resource="events""#, r#"verb="PATCH""#]),
            source_reads: ["codeagents", "secrets", "configmaps", "namespaces"]
                .map(|resource| count(&[&format!("resource=\"{resource}\""), r#"verb="GET""#]))
                .iter()
                .sum(),
            session_pages: count(&[sessions, r#"verb="LIST""#]),
        })
    }

    /// What was added since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            session_writes: self.session_writes - before.session_writes,
            session_reads: self.session_reads - before.session_reads,
            events: self.events - before.events,
            source_reads: self.source_reads - before.source_reads,
            session_pages: self.session_pages - before.session_pages,
        }
    }
}

/// Sum of the series of `name` whose labels contain all of `labels`, in Prometheus' text format.
pub fn sum_of(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with('{') || rest.starts_with(' '))
        .filter(|rest| labels.iter().all(|label| rest.contains(label)))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// How many processes wanted to run in the last minute, for each core.
///
/// # Errors
/// If the system does not tell.
pub fn load_per_core() -> Result<f64, Trouble> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let load: f64 = text.split_whitespace().next().ok_or("no load")?.parse()?;
    let cores = std::thread::available_parallelism()?.get();
    // Cores are few: the conversion is exact.
    Ok(load / f64::from(u32::try_from(cores)?))
}
