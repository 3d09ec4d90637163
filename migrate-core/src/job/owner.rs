//! The process that works on an execution, and whether it still lives.

use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The host's name.
    pub host: String,
    /// The process's number on that host.
    pub process: u32,
    /// When that process started, in the host's own terms; empty where the system does not say.
    #[serde(default)]
    pub started: String,
}

/// Whether the process that works on an execution still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// It does.
    Alive,
    /// It was killed, or its host went down.
    Gone,
}

/// After this long without a heartbeat, a process on another host is taken for gone.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);

impl Owner {
    /// Returns this process.
    pub fn this_process() -> Self {
        let process = std::process::id();
        Owner { host: host_name(), process, started: started(process).unwrap_or_default() }
    }

    /// Returns whether the process lives: certain on this host where the system says so, by its last heartbeat elsewhere.
    pub fn liveness(&self, last_heartbeat: Timestamp, now: Timestamp) -> Liveness {
        self.judge(&host_name(), &started, last_heartbeat, now)
    }

    fn judge(&self, here: &str, started: &dyn Fn(u32) -> Option<String>, last: Timestamp, now: Timestamp) -> Liveness {
        // This very process always knows when it started, so the system is able to say so for others.
        let certain = self.host == here && !self.started.is_empty();
        let alive = match (certain, started(self.process)) {
            (true, found) => found.as_deref() == Some(&self.started),
            (false, _) => now.since(last) < HEARTBEAT_LIMIT,
        };
        if alive { Liveness::Alive } else { Liveness::Gone }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.process, self.host)
    }
}

/// The host's name, or `localhost` where the system does not say.
fn host_name() -> String {
    let read = |path| std::fs::read_to_string(path).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    read("/proc/sys/kernel/hostname")
        .or_else(|| read("/etc/hostname"))
        .or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// When a process started: the boot's identity and the clock ticks since (Linux); `None` if there is no such process.
fn started(process: u32) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the command's name in brackets, and may hold spaces and brackets itself.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    let ticks = fields.nth(18)?;
    // A zombie has ended; only its parent has not asked yet.
    (!matches!(state, "Z" | "X")).then(|| format!("{}+{ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_reused_process_number_on_this_host_is_another_process() {
        let owner = Owner { host: "here".into(), process: 7, started: "boot+5".into() };
        let judge = |found: Option<&str>| owner.judge("here", &|_| found.map(str::to_owned), at(0), at(1));
        assert_eq!(judge(Some("boot+5")), Liveness::Alive);
        assert_eq!(judge(Some("boot+6")), Liveness::Gone);
        assert_eq!(judge(None), Liveness::Gone);
    }

    #[test]
    fn elsewhere_the_heartbeat_decides() {
        let owner = Owner { host: "there".into(), process: 7, started: "boot+5".into() };
        assert_eq!(owner.judge("here", &|_| None, at(0), at(59)), Liveness::Alive);
        assert_eq!(owner.judge("here", &|_| None, at(0), at(60)), Liveness::Gone);
    }

    #[test]
    fn this_process_is_alive() {
        assert_eq!(Owner::this_process().liveness(at(0), at(0)), Liveness::Alive);
    }
}
