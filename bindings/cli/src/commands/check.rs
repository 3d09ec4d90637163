//! `check`: whether a run could start.

use super::{Prepared, prepare};
use crate::args::{Global, JobArguments};
use crate::connect;
use crate::failure::{CHECK_FAILED, DONE, Failure};
use crate::interrupt;
use crate::output;
use migrate_core::job::CancelToken;
use migrate_core::pipeline::Pipeline;
use migrate_core::plan::Plan;
use serde_json::json;
use std::path::Path;

/// One thing that was looked at.
struct Finding {
    name: String,
    passed: bool,
    message: String,
}

pub(super) async fn check(global: &Global, arguments: &JobArguments) -> Result<u8, Failure> {
    let Prepared { file, job, source, target, options } = prepare(global, arguments)?;
    let environment = job.target.clone();
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let report = interrupt::unless_stopped(&cancel, pipeline.check()).await?;
    let seen = report.findings.into_iter();
    let mut findings: Vec<Finding> = seen.map(|f| Finding { name: f.name, passed: f.passed, message: f.message }).collect();
    let (passed, message) = match interrupt::unless_stopped(&cancel, connect::look_at_store(&file)).await {
        Ok(true) => (true, "can be reached".to_owned()),
        Ok(false) => (true, "will be created".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    findings.push(Finding { name: "store".to_owned(), passed, message });
    if report.passed {
        let plan = interrupt::unless_stopped(&cancel, pipeline.plan()).await?;
        let folder = connect::folder(&file, &environment)?;
        findings.extend(folder.and_then(|folder| space(&plan, &folder)));
    }
    let passed = findings.iter().all(|finding| finding.passed);
    if global.json {
        let findings: Vec<_> =
            findings.iter().map(|f| json!({ "name": f.name, "passed": f.passed, "message": f.message })).collect();
        output::print_json(&json!({ "passed": passed, "findings": findings }));
    } else {
        print(&findings);
    }
    Ok(if passed { DONE } else { CHECK_FAILED })
}

/// Compares the room in the target's folder with the size of what is moved there, as far as both are known.
fn space(plan: &Plan, folder: &Path) -> Option<Finding> {
    let free = free_bytes(folder)?;
    let needed = plan.entities.iter().map(|entity| entity.source.size_bytes).sum::<Option<u64>>()?;
    let message = format!("{} free, about {} needed", output::bytes(free), output::bytes(needed));
    Some(Finding { name: "space".to_owned(), passed: free >= needed, message })
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

fn print(findings: &[Finding]) {
    for finding in findings {
        let sign = if finding.passed { "ok    " } else { "FAILED" };
        output::print_line(&format!("{sign}  {}: {}", output::name(&finding.name), output::name(&finding.message)));
    }
    let failed = findings.iter().filter(|finding| !finding.passed).count();
    output::print_line("");
    output::print_line(&match failed {
        0 => format!("{} checks passed; a run can start", findings.len()),
        _ => format!("{failed} of {} checks failed", findings.len()),
    });
}
