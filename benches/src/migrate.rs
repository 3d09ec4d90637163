//! The released program: built, run, timed and watched.

use crate::Result;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one run of the program took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    /// The most memory that the process ever held, in KiB.
    pub(crate) peak: u64,
}

/// Builds the program as it is released, and returns where it is.
pub(crate) fn build() -> Result<PathBuf> {
    eprintln!("building the program");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "-p", "migrate-cli", "--bin", "migrate", "--message-format=json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the program does not build".into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executables.next_back().ok_or_else(|| "cargo names no program".into())
}

/// Writes a job file with nothing but what a user must say.
pub(crate) fn write_job(folder: &Path, source: &str, target: &str, exclude: &[&str]) -> Result<PathBuf> {
    let path = folder.join("migrate.toml");
    let text = format!(
        "[environments.source]\nurl = {source:?}\n\n[environments.target]\nurl = {target:?}\n\n\
         [jobs.copy]\nsource = \"source\"\ntarget = \"target\"\nmode = \"replace\"\nentities = \"*\"\n\
         cursor = {{ column = \"updated_at\" }}\n{}",
        if exclude.is_empty() { String::new() } else { format!("exclude = {exclude:?}\ndeletes = \"hard\"\n") }
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Runs a command on a job from start to exit.
pub(crate) fn run(program: &Path, command: &[&str], job: &Path) -> Result<Took> {
    let log = job.with_extension("log");
    let file = File::create(&log)?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(command)
        .arg("-c")
        .arg(job)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let (id, done) = (child.id(), AtomicBool::new(false));
    let (status, time, peak) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                // Read while it runs: what `wait4` reports afterwards counts this process's own memory too, from before the exec.
                peak = peak.max(high_water(id));
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let status = child.wait();
        let time = began.elapsed();
        done.store(true, Ordering::Relaxed);
        (status, time, watcher.join().unwrap_or(0))
    });
    if !status?.success() {
        return Err(format!("the copy failed:\n{}", std::fs::read_to_string(&log).unwrap_or_default()).into());
    }
    Ok(Took { time, peak })
}

/// The most memory that a process has held so far, in KiB; 0 where the system does not tell.
fn high_water(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|l| l.trim().parse().ok()).unwrap_or(0)
}
