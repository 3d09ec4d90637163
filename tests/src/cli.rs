//! The built command line, run as a user would.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A folder with a job file, in which the command line runs.
#[derive(Debug)]
pub struct Project {
    folder: TempDir,
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// Creates an empty folder.
    pub fn new() -> Self {
        Project { folder: tempfile::Builder::new().prefix("migrate-test-").tempdir().expect("a folder can be made") }
    }

    /// Creates a folder with a job named `copy` that copies everything.
    pub fn copying(source: &str, target: &str) -> Self {
        let project = Project::new();
        project.write_job(source, target, "mode = \"replace\"\nentities = \"*\"\n");
        project
    }

    /// Writes the job file: two environments, `a` and `b`, and the job `copy` with these settings.
    pub fn write_job(&self, source: &str, target: &str, settings: &str) {
        self.write(
            "migrate.toml",
            &format!(
                "[environments.a]\nurl = {}\n[environments.b]\nurl = {}\n[store]\nurl = \"sqlite:store.db\"\n\
                 [jobs.copy]\nsource = \"a\"\ntarget = \"b\"\n{settings}",
                quoted(source),
                quoted(target)
            ),
        );
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("the file can be written");
    }

    /// Prepares the command line in this folder.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        command
    }

    /// Runs the command line in this folder.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::of(self.command(arguments).output().expect("migrate starts"))
    }

    /// Starts a run of the job that can be watched, commit by commit, and killed.
    pub fn start<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let watched = ["run", "--json", "-v", "--log-format", "json"].into_iter().chain(arguments);
        let mut child = self.command(watched).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("migrate starts");
        let lines = BufReader::new(child.stderr.take().expect("standard error is read"));
        Running { child, lines, log: String::new(), commits: 0 }
    }

    /// Runs the command line and returns, with its result, the most memory that it held, in bytes.
    ///
    /// The kernel keeps that mark for as long as the process lives, so it is looked at again and again until the process ends.
    pub fn run_measured<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> (Run, u64) {
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("migrate starts");
        let status = format!("/proc/{}/status", child.id());
        let watcher = std::thread::spawn(move || {
            let mut peak = 0;
            // A process that has ended has no mark any more, also while its parent has not yet asked for it.
            while let Some(mark) = std::fs::read_to_string(&status).ok().as_deref().and_then(high_water_mark) {
                peak = mark;
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            peak
        });
        let run = Run::of(child.wait_with_output().expect("migrate ends"));
        (run, watcher.join().expect("the watcher ends"))
    }

    /// Runs the job with `--json` and returns its report.
    ///
    /// # Panics
    /// If it does not succeed, or if an entity's counters do not add up (P1).
    pub fn copy(&self) -> Value {
        let report = self.run(["run", "--json"]).expect(0).json();
        assert_counters_add_up(&report);
        report
    }

    /// As [`Project::copy`], and every row is read back before its commit.
    pub fn copy_inline(&self) -> Value {
        let report = self.run(["run", "--json", "--verify=inline"]).expect(0).json();
        assert_counters_add_up(&report);
        report
    }
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Asserts P1 for every entity of a report.
fn assert_counters_add_up(report: &Value) {
    let entities = report["entities"].as_array().expect("the report lists entities");
    for entity in entities {
        let n = |name: &str| entity[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {entity}"));
        let parts = ["inserted", "updated", "unchanged", "skipped", "filtered", "quarantined"];
        assert_eq!(n("read"), parts.iter().map(|p| n(p)).sum::<u64>(), "{entity}");
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What a process left behind.
#[derive(Debug)]
pub struct Run {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Takes a finished process.
    pub fn of(output: Output) -> Self {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// Asserts the exit code, and that nothing panicked.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        self
    }

    /// Returns standard output as the one JSON document that it must be.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            panic!("stdout is not one JSON document: {e}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
        })
    }

    /// Asserts that standard error holds each of these, whatever the letters' case.
    pub fn says(&self, pieces: &[&str]) {
        let text = self.stderr.to_lowercase();
        for piece in pieces {
            assert!(text.contains(&piece.to_lowercase()), "{piece:?} is expected in:\n{}", self.stderr);
        }
    }

    /// Returns everything that was printed.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// A run that is under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: BufReader<ChildStderr>,
    log: String,
    commits: u32,
}

impl Running {
    /// Waits until so many transactions have committed, or the run ends; returns whether it goes on.
    pub fn wait_for_commits(&mut self, count: u32) -> bool {
        while self.commits < count {
            if !self.next_line() {
                return false;
            }
        }
        true
    }

    /// Waits until the log says this, or the run ends; returns whether it did.
    pub fn wait_for(&mut self, message: &str) -> bool {
        loop {
            let before = self.log.len();
            if !self.next_line() {
                return false;
            }
            if self.log[before..].contains(message) {
                return true;
            }
        }
    }

    fn next_line(&mut self) -> bool {
        let before = self.log.len();
        let count = self.lines.read_line(&mut self.log).expect("the log can be read");
        if self.log[before..].contains("\"message\":\"committed\"") {
            self.commits += 1;
        }
        count > 0
    }

    /// Sends a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().expect("kill starts");
        assert!(sent.success(), "the process is there to be sent {name}");
    }

    /// Kills the process with SIGKILL and returns after how many commits that was.
    pub fn kill(mut self) -> u32 {
        self.child.kill().expect("the process is there");
        let _ = self.child.wait();
        while self.next_line() {}
        self.commits
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Run {
        let mut stdout = String::new();
        // The log first, so that the process never waits for its reader: the report is one line at the end.
        while self.next_line() {}
        self.child.stdout.take().expect("standard output is read").read_to_string(&mut stdout).expect("UTF-8");
        let code = self.child.wait().expect("the process ends").code();
        Run { code, stdout, stderr: self.log }
    }

    /// Returns how many transactions the log has shown so far.
    pub fn commits(&self) -> u32 {
        self.commits
    }
}

/// The `migrate` binary: that of `MIGRATE_BIN`, or one that cargo builds now.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("MIGRATE_BIN") {
            return PathBuf::from(path);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bin", "migrate", "--message-format", "json-render-diagnostics"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "the command line does not build");
        let messages = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
        let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut executables = built.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
        executables.next().expect("cargo names the executable")
    })
}
