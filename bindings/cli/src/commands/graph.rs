//! `graph`: which entity refers to which.

use super::{Environments, Prepared, locate, prepare};
use crate::args::{Global, GraphArguments, GraphFormat};
use crate::failure::{DONE, Failure};
use crate::interrupt;
use crate::output::{self, Table};
use migrate_core::job::CancelToken;
use migrate_core::pipeline::Pipeline;
use migrate_core::plan::ReferenceGraph;
use migrate_core::{Error, ErrorKind};

pub(super) async fn graph(global: &Global, arguments: &GraphArguments) -> Result<u8, Failure> {
    let Prepared { job, source, target, options, .. } = prepare(global, &arguments.job)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let environments = Environments::of(&job);
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let graph = interrupt::unless_stopped(&cancel, pipeline.graph()).await.map_err(|error| locate(error, &environments))?;
    if global.json || arguments.format == GraphFormat::Json {
        let failed = |error| Error::new(ErrorKind::Internal, "the graph does not serialize").caused_by(error);
        output::print_json(&serde_json::to_value(&graph).map_err(failed)?);
        return Ok(DONE);
    }
    match arguments.format {
        GraphFormat::Text | GraphFormat::Json => print(&graph),
        GraphFormat::Dot => graph.to_dot().lines().for_each(output::print_line),
        GraphFormat::Mermaid => graph.to_mermaid().lines().for_each(output::print_line),
    }
    Ok(DONE)
}

fn print(graph: &ReferenceGraph) {
    let staged = graph.entities.iter().any(|entity| entity.stage.is_some());
    let first = if staged { "stage" } else { ">level" };
    let mut table = Table::new(&[first, "entity", "refers to", "by", "bound"]);
    for entity in &graph.entities {
        let level = entity.stage.as_deref().map_or_else(|| entity.level.to_string(), output::name);
        let name = output::name(&entity.name);
        let references: Vec<_> = graph.references.iter().filter(|r| r.child == entity.name).collect();
        if references.is_empty() {
            table.add(vec![level, name, String::new(), String::new(), String::new()]);
            continue;
        }
        for (place, reference) in references.into_iter().enumerate() {
            let first = |text: &String| if place == 0 { text.clone() } else { String::new() };
            let elsewhere = if reference.moved { "" } else { " (not moved)" };
            let parent = format!("{}{elsewhere}", output::name(&reference.parent));
            let columns = output::name(&reference.label());
            let declared = if reference.declared { "; named by the job file" } else { "" };
            table.add(vec![first(&level), first(&name), parent, columns, format!("{}{declared}", reference.reason)]);
        }
    }
    table.print();
    for cycle in &graph.cycles {
        output::print_line("");
        output::print_line(&format!("cycle: {} → {}", output::name(&cycle.join(" → ")), output::name(&cycle[0])));
    }
}
