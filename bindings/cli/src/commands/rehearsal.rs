//! What a rehearsal has found.

use crate::output::{self, EntityLine};
use migrate_core::job::ExecutionState;
use migrate_core::pipeline::{RefusedRow, Rehearsed};

/// Prints it, below the plan.
pub(super) fn print(rehearsed: &Rehearsed, show_values: bool) {
    output::print_line("");
    output::print_line("what the run would do, rehearsed with the target's own constraints and triggers:");
    output::results(rehearsed.entities.iter().map(|e| EntityLine {
        name: &e.name,
        stage: None,
        counters: &e.counters,
        seconds: e.seconds,
    }))
    .print();
    for entity in rehearsed.entities.iter().filter(|e| !e.refused.is_empty()) {
        output::print_line("");
        let (refused, name) = (output::count(entity.counters.quarantined), output::name(&entity.name));
        output::print_line(&format!("rows of {name} that would be refused, {} of {refused}:", entity.refused.len()));
        entity.refused.iter().for_each(|row| print_refused(row, show_values));
    }
    let remarks = rehearsed.remarks.iter().map(|remark| match &remark.entity {
        Some(entity) => format!("{}: {}", output::name(entity), output::name(&remark.message)),
        None => output::name(&remark.message),
    });
    print_list("what the run would say:", remarks);
    print_list("about the rehearsal:", rehearsed.notes.iter().map(|note| output::name(note)));
    output::print_line("");
    output::print_line(&match (rehearsed.status, &rehearsed.error) {
        (ExecutionState::Succeeded, _) => "The run would succeed.".to_owned(),
        (ExecutionState::Partial, _) => "The run would end partial: not all rows would arrive.".to_owned(),
        (_, Some(error)) => format!("The run would fail: {}", output::name(error)),
        (status, None) => format!("The run would end {status}."),
    });
}

fn print_list(title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        output::print_line("");
        output::print_line(title);
        lines.iter().for_each(|line| output::print_line(&format!("  {line}")));
    }
}

fn print_refused(row: &RefusedRow, show_values: bool) {
    let column = row.column.as_deref().map(|column| format!(" (column {})", output::name(column))).unwrap_or_default();
    output::print_line(&format!("  ({}) {}{column}", output::name(&row.key.join(", ")), output::name(&row.reason)));
    for cell in row.columns.iter().filter(|_| show_values) {
        let value = cell.value.as_deref().map_or_else(|| "NULL".to_owned(), |value| output::name(&format!("{value:?}")));
        output::print_line(&format!("    {}: {value}", output::name(&cell.column)));
    }
}
