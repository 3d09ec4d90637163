//! Which tables a job moves, and what they are called at the target.

use crate::error::{Error, ErrorKind, Result};
use crate::expression::Expression;
use crate::filter::Filter;
use crate::hint;
use crate::job::{Entities, Entity, Job, RunOptions, stage};
use crate::schema::{DatabaseSchema, TableKind, TableName, TableSchema};
use crate::state::UnfinishedTable;

/// An entity of the job with the source's table it means.
pub(super) struct Chosen<'a> {
    pub(super) entity: Entity,
    pub(super) table: &'a TableSchema,
    /// Whether the run leaves it out, and it only has its say in a table that is made for it too.
    pub(super) left_out: bool,
}

/// Splits `schema.table` where the database has such a schema; a name that holds points itself wins.
pub(super) fn parse_name(name: &str, database: &DatabaseSchema) -> TableName {
    if database.tables.iter().any(|t| t.name.name == name) {
        return TableName::new(None, name);
    }
    match name.split_once('.') {
        Some((schema, table)) if database.tables.iter().any(|t| t.name.schema.is_some()) => TableName::new(Some(schema), table),
        _ => TableName::new(None, name),
    }
}

/// Returns the job's entities with their tables, and a note for each table that `"*"` passes over.
pub(super) fn choose<'a>(job: &Job, options: &RunOptions, source: &'a DatabaseSchema) -> Result<(Vec<Chosen<'a>>, Vec<String>)> {
    let mut notes = Vec::new();
    let mut chosen = match &job.entities {
        Entities::All => all_tables(job, source, &mut notes)?,
        Entities::List(list) => list
            .iter()
            .map(|entity| {
                let name = parse_name(&entity.source, source);
                let table = source.table(&name, default_schema(source)).map_err(|e| e.with("entity", entity.name()))?;
                Ok(Chosen { entity: entity.clone(), table, left_out: false })
            })
            .collect::<Result<Vec<_>>>()?,
    };
    stage::check_entities(&job.stages, &chosen.iter().map(|c| c.entity.name()).collect::<Vec<_>>())?;
    if options.narrows() {
        for name in &options.entities {
            if !chosen.iter().any(|c| c.entity.name() == name) {
                let names: Vec<&str> = chosen.iter().map(|c| c.entity.name()).collect();
                let message = format!("the job has no entity \"{name}\"{}", hint::nearest(name, names));
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        options.stages.iter().try_for_each(|name| stage::check_known(&job.stages, name))?;
        chosen.retain(|c| options.takes(job, c.entity.name()));
    }
    if chosen.is_empty() {
        return Err(Error::new(ErrorKind::Config, "there is nothing to move: the source has no table that the job takes"));
    }
    Ok((chosen, notes))
}

/// Adds the job's entities that a run leaves out and that feed a table which the target lacks and the run makes, in the job's order: what
/// is made is made for all.
pub(super) fn with_sharers<'a>(
    job: &Job,
    options: &RunOptions,
    chosen: Vec<Chosen<'a>>,
    source: &'a DatabaseSchema,
    target: &DatabaseSchema,
    default: Option<&str>,
    unfinished: &[UnfinishedTable],
) -> Result<Vec<Chosen<'a>>> {
    if !options.narrows() || matches!(job.entities, Entities::All) {
        return Ok(chosen);
    }
    let made = |chosen: &Chosen<'_>| -> Result<Option<TableName>> {
        let (name, existing) = target_name(chosen, target, default, &mut Vec::new())?;
        Ok(Some(name).filter(|name| existing.is_none() || unfinished.iter().any(|table| &table.name == name)))
    };
    let wanted: Vec<TableName> = chosen.iter().filter_map(|chosen| made(chosen).transpose()).collect::<Result<_>>()?;
    let (all, _) = choose(job, &RunOptions::default(), source)?;
    let mut with = Vec::with_capacity(all.len());
    for one in all {
        let left_out = chosen.iter().all(|chosen| chosen.entity.name() != one.entity.name());
        if !left_out || made(&one)?.is_some_and(|name| wanted.contains(&name)) {
            with.push(Chosen { left_out, ..one });
        }
    }
    Ok(with)
}

fn default_schema(database: &DatabaseSchema) -> Option<&str> {
    database.tables.iter().filter_map(|t| t.name.schema.as_deref()).find(|s| *s == "public")
}

fn all_tables<'a>(job: &Job, source: &'a DatabaseSchema, notes: &mut Vec<String>) -> Result<Vec<Chosen<'a>>> {
    for name in &job.exclude {
        source.table(&parse_name(name, source), default_schema(source)).map_err(|e| e.with("field", "exclude"))?;
    }
    for schema in &job.schemas {
        if !source.tables.iter().any(|t| t.name.schema.as_ref() == Some(schema)) {
            let known: Vec<&str> = source.tables.iter().filter_map(|t| t.name.schema.as_deref()).collect();
            let message = format!("the source has no table in a schema \"{schema}\"{}", hint::nearest(schema, known));
            return Err(Error::new(ErrorKind::Config, message).with("field", "schemas"));
        }
    }
    let mut chosen = Vec::new();
    for table in &source.tables {
        let name = &table.name;
        if !job.schemas.is_empty() && !job.schemas.iter().any(|s| name.schema.as_ref() == Some(s)) {
            continue;
        }
        let excluded = |e: &String| {
            let wanted = parse_name(e, source);
            wanted.name == name.name && (wanted.schema.is_none() || wanted.schema == name.schema)
        };
        if job.exclude.iter().any(excluded) {
            continue;
        }
        match table.kind {
            TableKind::Table | TableKind::Partitioned => {
                chosen.push(Chosen { entity: Entity::new(short_name(name, source)), table, left_out: false });
            }
            TableKind::Partition => {}
            TableKind::View | TableKind::MaterializedView => {
                notes.push(format!("view {name} is not moved; name it as an entity to copy its rows"))
            }
            TableKind::Foreign => notes.push(format!("foreign table {name} is not moved; name it as an entity to copy its rows")),
            TableKind::Virtual => notes.push(format!("virtual table {name} is not moved; name it as an entity to copy its rows")),
        }
    }
    Ok(chosen)
}

/// A table's name as a user would write it: without the default schema.
fn short_name(name: &TableName, source: &DatabaseSchema) -> String {
    if name.schema.as_deref() == default_schema(source) { name.name.clone() } else { name.to_string() }
}

/// Returns the name of the target's table, and the table where it exists already.
pub(super) fn target_name<'t>(
    chosen: &Chosen<'_>,
    target: &'t DatabaseSchema,
    default: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(TableName, Option<&'t TableSchema>)> {
    let wanted = match &chosen.entity.target {
        Some(name) => explicit_name(name, target, default),
        None => implied_name(&chosen.table.name, default),
    };
    let same = |t: &&TableSchema| t.name == wanted;
    if let Some(table) = target.tables.iter().find(same) {
        return Ok((wanted, Some(table)));
    }
    let folded = |t: &&TableSchema| t.name.schema == wanted.schema && t.name.name.to_lowercase() == wanted.name.to_lowercase();
    let similar: Vec<&TableSchema> = target.tables.iter().filter(folded).collect();
    match similar[..] {
        [] => Ok((wanted, None)),
        // An engine without schemas folds case itself; elsewhere unquoted names were folded when the table was made.
        [table] => {
            notes.push(format!("feeds the existing table {}, whose name differs in case only", table.name));
            Ok((table.name.clone(), Some(table)))
        }
        _ => {
            let message = format!(
                "several tables of the target are called {wanted}, but for upper and lower case; name one with target = …"
            );
            Err(Error::new(ErrorKind::Config, message).with("entity", chosen.entity.name()))
        }
    }
}

fn explicit_name(name: &str, target: &DatabaseSchema, default: Option<&str>) -> TableName {
    let Some(default) = default else { return TableName::new(None, name) };
    if target.tables.iter().any(|t| t.name.name == name && t.name.schema.as_deref() == Some(default)) {
        return TableName::new(Some(default), name);
    }
    match name.split_once('.') {
        Some((schema, table)) if !schema.is_empty() && !table.is_empty() => TableName::new(Some(schema), table),
        _ => TableName::new(Some(default), name),
    }
}

/// The same name, as far as the target's engine has schemas; `sales.order` becomes `sales_order` where it has none.
fn implied_name(source: &TableName, default: Option<&str>) -> TableName {
    match (&source.schema, default) {
        (Some(schema), Some(_)) => TableName::new(Some(schema), source.name.clone()),
        (None, Some(default)) => TableName::new(Some(default), source.name.clone()),
        (Some(schema), None) if schema != "public" && schema != "main" => {
            TableName::new(None, format!("{schema}_{}", source.name))
        }
        (_, None) => TableName::new(None, source.name.clone()),
    }
}

/// Refuses parameters of a run that neither a filter of the job names, nor an expression.
///
/// # Errors
/// [`ErrorKind::Config`] with the nearest name that one does.
pub(super) fn refuse_unused_parameters(job: &Job, options: &RunOptions) -> Result<()> {
    if options.params.is_empty() {
        return Ok(());
    }
    let entities: &[Entity] = match &job.entities {
        Entities::List(list) => list,
        Entities::All => &[],
    };
    let mut named = Vec::new();
    for entity in entities {
        if let Some(filter) = &entity.filter {
            named.extend(Filter::names("filter", filter)?);
        }
        for sql in entity.transform.iter().filter_map(|step| step.sql.as_deref()) {
            named.extend(Expression::names(sql)?);
        }
    }
    match options.params.keys().find(|name| !named.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let hint = hint::nearest(name, named.iter().map(String::as_str));
            let message = format!("no filter or expression of the job names the parameter :{name}{hint}");
            Err(Error::new(ErrorKind::Config, message).with("job", &job.name))
        }
    }
}
