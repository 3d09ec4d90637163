//! `links`: which references of the target's rows lead nowhere.

use super::{Environments, Prepared, locate, prepare};
use crate::args::{Global, LinksArguments};
use crate::failure::{DONE, Failure};
use crate::interrupt;
use crate::output::{self, Table};
use migrate_core::job::CancelToken;
use migrate_core::pipeline::{LinkState, OpenReference, Pipeline};
use serde_json::json;

pub(super) async fn links(global: &Global, arguments: &LinksArguments) -> Result<u8, Failure> {
    let Prepared { job, source, target, options, .. } = prepare(global, &arguments.job)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let environments = Environments::of(&job);
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let found = interrupt::unless_stopped(&cancel, pipeline.links(arguments.examples)).await;
    let found = found.map_err(|error| locate(error, &environments))?;
    if global.json {
        output::print_json(&json!({ "references": found }));
    } else {
        print(&found);
    }
    Ok(DONE)
}

fn print(found: &[OpenReference]) {
    if found.is_empty() {
        output::print_line("every reference leads to a row");
        return;
    }
    let mut table = Table::new(&["entity", "by", "refers to", ">rows", "which"]);
    for reference in found {
        let columns = output::name(&reference.columns.join(", "));
        table.add(vec![
            output::name(&reference.entity),
            columns,
            output::name(&reference.parent),
            reference.rows.to_string(),
            match reference.state {
                LinkState::Open => "have NULL: the parent was not there".to_owned(),
                LinkState::Placeholder => "refer to a placeholder: the parent was not there".to_owned(),
                LinkState::Dangling => "refer to a row that is not there".to_owned(),
                _ => String::new(),
            },
        ]);
    }
    table.print();
    for reference in found {
        output::print_line("");
        output::print_line(&format!("{} by ({}):", output::name(&reference.entity), output::name(&reference.columns.join(", "))));
        for link in &reference.links {
            let key = output::name(&link.key);
            output::print_line(&match &link.parent {
                Some(parent) => format!("  {key} → {}", output::name(parent)),
                None => format!("  {key}"),
            });
        }
        let more = reference.rows.saturating_sub(reference.links.len() as u64);
        if more > 0 {
            output::print_line(&format!("  and {more} more"));
        }
    }
}
