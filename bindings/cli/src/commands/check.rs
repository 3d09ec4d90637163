//! `check`: whether a run could start.

use super::{Prepared, prepare};
use crate::args::{Global, JobArguments};
use crate::failure::{CHECK_FAILED, DONE, Failure};
use crate::interrupt;
use crate::output;
use migrate_core::job::CancelToken;
use migrate_core::pipeline::Pipeline;
use migrate_core::{Error, ErrorKind};

pub(super) async fn check(global: &Global, arguments: &JobArguments) -> Result<u8, Failure> {
    let Prepared { job, source, target, options, .. } = prepare(global, arguments)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let report = interrupt::unless_stopped(&cancel, pipeline.check()).await?;
    if global.json {
        let failed = |error| Error::new(ErrorKind::Internal, "the report does not serialize").caused_by(error);
        output::print_json(&serde_json::to_value(&report).map_err(failed)?);
    } else {
        for finding in &report.findings {
            let sign = if finding.passed { "ok    " } else { "FAILED" };
            output::print_line(&format!("{sign}  {}: {}", output::name(&finding.name), output::name(&finding.message)));
        }
        let failed = report.findings.iter().filter(|finding| !finding.passed).count();
        output::print_line("");
        output::print_line(&match failed {
            0 => format!("{} checks passed; a run can start", report.findings.len()),
            _ => format!("{failed} of {} checks failed", report.findings.len()),
        });
    }
    Ok(if report.passed { DONE } else { CHECK_FAILED })
}
