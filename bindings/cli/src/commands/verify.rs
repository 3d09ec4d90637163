//! `verify`: whether both sides hold the same rows.

use super::{Environments, Prepared, locate, prepare};
use crate::args::{Global, VerifyArguments};
use crate::failure::{CHECK_FAILED, DONE, Failure};
use crate::output::{self, Table};
use crate::{connect, interrupt};
use migrate_core::job::CancelToken;
use migrate_core::pipeline::Pipeline;
use migrate_core::verify::{self, Difference, DifferenceKind, VerifyReport};
use migrate_core::{Error, ErrorKind};
use serde_json::Value;

pub(super) async fn verify(global: &Global, arguments: &VerifyArguments) -> Result<u8, Failure> {
    let Prepared { file, job, source, target, options } = prepare(global, &arguments.job)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let environments = Environments::of(&job);
    let recorder = interrupt::unless_stopped(&cancel, connect::store(&file)).await?;
    let pipeline = Pipeline::builder(job).source(source).target(target).recorder(recorder).options(options).build()?;
    let located = |error| locate(error, &environments);
    let mut report = verify::verify(&pipeline, &cancel).await.map_err(located)?;
    let mut repaired = None;
    if arguments.repair && !report.equal {
        if !global.json {
            print(&report, arguments.show_values);
            output::print_line("");
        }
        let run = verify::repair(&pipeline, &report, arguments.delete_extra, &cancel).await.map_err(located)?;
        if !global.json {
            output::print_line(&format!("repaired by execution {}: {}; compared again:", run.execution_id, run.status));
            output::print_line("");
        }
        repaired = Some(run.execution_id);
        report = verify::verify(&pipeline, &cancel).await.map_err(located)?;
    }
    if global.json {
        let mut document = document(&report, arguments.show_values)?;
        if let Some(execution) = repaired {
            document["repaired_by"] = execution.into();
        }
        output::print_json(&document);
    } else {
        print(&report, arguments.show_values);
    }
    Ok(code(&report))
}

/// The exit code of a comparison.
pub(super) fn code(report: &VerifyReport) -> u8 {
    if report.equal { DONE } else { CHECK_FAILED }
}

/// The report as a document; values of columns that differ only on request.
pub(super) fn document(report: &VerifyReport, show_values: bool) -> Result<Value, Failure> {
    let failed = |error| Error::new(ErrorKind::Internal, "the report does not serialize").caused_by(error);
    let mut document = serde_json::to_value(report).map_err(failed)?;
    if !show_values {
        let entities = document["entities"].as_array_mut().into_iter().flatten();
        let rows = entities.filter_map(|entity| entity.get_mut("differences")?.as_array_mut()).flatten();
        super::hide_values(rows);
    }
    Ok(document)
}

/// Prints the certificate of each entity, and what differs.
pub(super) fn print(report: &VerifyReport, show_values: bool) {
    let titles =
        ["entity", ">source", ">target", ">missing", ">extra", ">different", ">quarantined", ">left out", "checksum", ">seconds"];
    let mut table = Table::new(&titles);
    for entity in &report.entities {
        let left_out = entity.source_left_out + entity.target_left_out;
        let rows = [entity.source_rows, entity.target_rows, entity.missing, entity.extra, entity.different];
        let mut row = vec![output::name(&entity.name)];
        row.extend(rows.into_iter().chain([entity.quarantined, left_out]).map(output::count));
        row.push(super::checksums(&entity.source_checksum, &entity.target_checksum));
        row.push(format!("{:.2}", entity.seconds));
        table.add(row);
    }
    table.print();
    for entity in report.entities.iter().filter(|e| !e.differences.is_empty()) {
        output::print_line("");
        output::print_line(&format!("rows of {} that differ:", output::name(&entity.name)));
        entity.differences.iter().for_each(|difference| print_difference(difference, show_values));
        let all = entity.missing + entity.extra + entity.different;
        let listed = entity.differences.iter().map(|difference| difference.copies).sum();
        if all > listed {
            output::print_line(&format!("  … and {} more", output::count(all - listed)));
        }
    }
    for entity in report.entities.iter().filter(|e| !e.not_compared.is_empty()) {
        let columns = output::name(&entity.not_compared.join(", "));
        output::print_line(&format!("{}: not compared, as triggers own them: {columns}", output::name(&entity.name)));
    }
    for (entity, drift) in report.entities.iter().flat_map(|e| e.drift.iter().map(move |drift| (e, drift))) {
        output::print_line(&output::name(&format!("{}: {drift}, and no run was made since", entity.name)));
    }
    output::print_line("");
    output::print_line(if report.equal { "Both sides are equal." } else { "The two sides differ." });
}

fn print_difference(difference: &Difference, show_values: bool) {
    let kind = match difference.kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Extra => "extra",
        DifferenceKind::Different => "different",
    };
    let times = if difference.copies == 1 { String::new() } else { format!(", {} times", output::count(difference.copies)) };
    let Some(checksum) = &difference.checksum else {
        output::print_line(&format!("  {kind}{times} ({})", output::name(&difference.key.join(", "))));
        return super::print_cells(&difference.columns, show_values);
    };
    output::print_line(&format!("  {kind}{times}: row {checksum}"));
    if show_values {
        super::print_cells(&difference.columns, show_values);
    }
}
