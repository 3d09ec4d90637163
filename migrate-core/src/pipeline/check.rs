//! Looks at everything that a run needs, and writes nothing.

use super::Pipeline;
use super::neighbours::refuse_shared_tables;
use super::orphans;
use super::report::{CheckReport, Finding};
use crate::error::{Error, Result};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Source};

pub(super) async fn check(pipeline: &Pipeline) -> Result<CheckReport> {
    let mut findings = Vec::new();
    let mut add = |name: String, result: Result<String>| {
        let (passed, message) = match result {
            Ok(message) => (true, message),
            Err(error) => (false, explain(&error)),
        };
        findings.push(Finding { name, passed, message });
        passed
    };
    let plan = match pipeline.plan().await {
        Ok(plan) => plan,
        Err(error) => {
            add("plan".to_owned(), Err(error));
            return Ok(CheckReport { passed: false, findings });
        }
    };
    add("source".to_owned(), Ok(plan.source.clone()));
    add("target".to_owned(), Ok(plan.target.clone()));
    let mut passed = true;
    if let Err(error) = plan.check_drift() {
        passed &= add("columns of the source".to_owned(), Err(error));
    }
    let creates = plan.entities.iter().any(|e| e.create);
    let state = pipeline.sink.state();
    let remembers = state.exists().await?;
    if remembers && let Err(error) = refuse_shared_tables(&pipeline.job, &plan, state.as_ref()).await {
        passed &= add("other jobs".to_owned(), Err(error));
    }
    if creates || !remembers {
        passed &= add("rights to create tables".to_owned(), pipeline.sink.check_creatable().await.map(|()| "present".to_owned()));
    }
    for entity in &plan.entities {
        let readable = check_source(pipeline.source.as_ref(), entity).await;
        passed &= add(format!("{}: source", entity.name), readable.map(|()| format!("{} can be read", entity.source.name)));
        let target = &entity.target.name;
        if entity.create {
            add(format!("{}: target", entity.name), Ok(format!("{target} will be created")));
        } else {
            let writable = pipeline.sink.check_writable(&entity.target).await;
            passed &= add(format!("{}: target", entity.name), writable.map(|()| format!("{target} can be written")));
        }
    }
    for table in plan.schema.tables.iter().filter(|t| !t.added.is_empty()) {
        let alterable = pipeline.sink.check_alterable(table).await;
        let name = format!("{}: columns to add", table.table.name);
        passed &= add(name, alterable.map(|()| format!("{} can be added", table.added.join(", "))));
    }
    if passed {
        match orphans::look(pipeline, &plan).await {
            Ok(found) => {
                for reference in found {
                    passed &= reference.passed;
                    findings.push(Finding { name: reference.name, passed: reference.passed, message: reference.message });
                }
            }
            Err(error) => passed &= add("references".to_owned(), Err(error)),
        }
    }
    Ok(CheckReport { passed, findings })
}

/// An error with its causes, in one line.
fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// Checks that an entity's rows can be read, by its expressions and under its filter, which only the source understands.
pub(super) async fn check_source(source: &dyn Source, entity: &EntityPlan) -> Result<()> {
    source.check_readable(&entity.source).await?;
    if entity.parsed_filter.is_none() && entity.source.computed.is_empty() {
        return Ok(());
    }
    let columns = entity.read_columns();
    let request = PageRequest::new(&entity.source, &columns, &[]).with_filter(entity.parsed_filter.as_ref()).with_limits(1, 1);
    let page = source.open_snapshot().await?.read_page(&request).await;
    page.map(drop).map_err(|error| error.with("entity", &entity.name))
}
