//! Builds a plan from the job and both databases' catalogs. Reads only.

use super::Plan;
use super::cascades;
use super::columns;
use super::drift;
use super::entity::EntityPlan;
use super::evolve;
use super::expressions;
use super::graph::ReferenceGraph;
use super::keyless;
use super::keys;
use super::names::{self, Chosen};
use super::references::{self, Cycles, Refusal};
use super::sets;
use super::shared;
use super::stages;
use super::tables::{Draft, Planned, plan_tables};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::filter::{Filter, Parameter};
use crate::hint;
use crate::job::{Entity, Job, RunOptions, stage};
use crate::schema::{DatabaseSchema, TableName, TableSchema, TypeKind, TypeSchema};
use crate::sink::{SchemaPlan, Sink};
use crate::source::Source;
use crate::state::TargetState;
use crate::transform::{TransformPlan, Transformers};
use crate::value::conform::conform;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Plans a run of a job.
///
/// # Errors
/// [`ErrorKind::Config`] where the job names what does not exist, [`ErrorKind::Schema`] where source and target cannot meet, and whatever
/// reading the catalogs gives.
pub async fn build(job: &Job, options: &RunOptions, code: &Transformers, source: &dyn Source, sink: &dyn Sink) -> Result<Plan> {
    let (plan, refusals) = draft(job, options, code, source, sink).await?;
    refuse(&refusals, &job.name, sink).await?;
    Ok(plan)
}

/// Plans a run of a job, also where references that cannot be bound keep it from running.
///
/// # Errors
/// As [`build`], but for references that cannot be bound.
pub(crate) async fn build_any(
    job: &Job,
    options: &RunOptions,
    code: &Transformers,
    source: &dyn Source,
    sink: &dyn Sink,
) -> Result<Plan> {
    draft(job, options, code, source, sink).await.map(|(plan, _)| plan)
}

/// Returns the references between a job's entities, also where they keep it from running.
///
/// # Errors
/// As [`build`], but for references that cannot be bound.
pub async fn graph(
    job: &Job,
    options: &RunOptions,
    code: &Transformers,
    source: &dyn Source,
    sink: &dyn Sink,
) -> Result<ReferenceGraph> {
    draft(job, options, code, source, sink).await.map(|(plan, _)| ReferenceGraph::of(&plan))
}

async fn draft(
    job: &Job,
    options: &RunOptions,
    code: &Transformers,
    source: &dyn Source,
    sink: &dyn Sink,
) -> Result<(Plan, Vec<Refusal>)> {
    job.validate()?;
    names::refuse_unused_parameters(job, options)?;
    let (source_schema, target_schema, identity) = tokio::try_join!(
        async { source.schema().await.context("side", "source") },
        async { sink.schema().await.context("side", "target") },
        async { source.identity().await.context("side", "source") },
    )?;
    let state = sink.state();
    let remembers = state.exists().await?;
    let unfinished = if remembers { state.unfinished_tables(&job.name).await? } else { Vec::new() };
    let (chosen, mut notes) = names::choose(job, options, &source_schema)?;
    let default = sink.default_schema();
    let chosen = names::with_sharers(job, options, chosen, &source_schema, &target_schema, default.as_deref(), &unfinished)?;
    let mut params = job.params.clone();
    params.extend(options.params.clone());
    let computed = expressions::computed(&chosen, &params, source).await?;

    let mut drafts = Vec::with_capacity(chosen.len());
    for (mut chosen, computed) in chosen.into_iter().zip(&computed) {
        chosen.table = computed.as_ref().unwrap_or(chosen.table);
        let key = key_of(&chosen.entity, chosen.table);
        chosen.entity = keys::without_generated(&chosen.entity, chosen.table, &key);
        let own = code.get(chosen.entity.name());
        let mut entity_notes = Vec::new();
        let (name, existing) = names::target_name(&chosen, &target_schema, default.as_deref(), &mut entity_notes)?;
        let existing = existing.cloned();
        let started = unfinished.iter().find(|u| u.name == name).map(|u| u.plan.clone());
        let found = if remembers { state.checkpoints(&job.name, chosen.entity.name()).await? } else { Vec::new() };
        let case = drift::Case {
            entity: &chosen.entity,
            policy: chosen.entity.drift.unwrap_or(job.drift),
            source: chosen.table,
            key: &key,
            // A table that the job is still creating has had no finished run.
            target: existing.as_ref().filter(|_| started.is_none()),
            mark: job.deletes.column.as_deref(),
            remembered: drift::remembered(&found, chosen.table),
        };
        let mut judged = case.judge()?;
        let explain = |error| judged.explain(chosen.entity.name(), error);
        let transform = TransformPlan::new(&chosen.entity, chosen.table, &key, own).map_err(explain)?.map(Arc::new);
        columns::check_names(&chosen.entity, chosen.table, transform.as_ref().map(|t| t.table())).map_err(explain)?;
        judged.keep_moved(transform.as_ref().map_or(chosen.table, |t| t.table()));
        drafts.push(Draft { chosen, name, transform, existing, started, judged, notes: entity_notes });
    }
    let names = || drafts.iter().map(|draft| draft.chosen.entity.name());
    if let Some(unknown) = code.keys().find(|name| !options.narrows() && names().all(|known| known != *name)) {
        let message = format!("there is no entity \"{unknown}\" to transform{}", hint::nearest(unknown, names()));
        return Err(Error::new(ErrorKind::Config, message));
    }
    // Only a target that exists has an identity, and only one with the table can be copied into itself.
    if drafts.iter().any(|d| d.existing.is_some()) && identity == sink.as_source().identity().await.context("side", "target")? {
        refuse_itself(&drafts)?;
    }
    let mark = job.deletes.column.as_deref();
    let planned = plan_tables(&mut drafts, code, &source_schema, &target_schema, source, sink, mark).await?;
    let mut drafts: Vec<(Draft<'_>, Planned)> = drafts.into_iter().zip(planned).collect();
    drafts.retain(|(draft, _)| !draft.chosen.left_out);
    let same_engine = source.name() == sink.name();
    let mut entities = Vec::with_capacity(drafts.len());
    let mut schema = SchemaPlan::default();
    for (draft, Planned { plan: table, .. }) in &mut drafts {
        let from = draft.transform.as_ref().map_or(draft.chosen.table, |transform| transform.table());
        let missing =
            evolve::Missing { entity: &draft.chosen.entity, from, refines: draft.transform.is_none(), database: &source_schema };
        if let Some(added) = missing.add(table, &mut draft.judged.drift, source, sink).await? {
            add_types(&mut schema.types, &source_schema, &added, &added, same_engine);
        }
    }
    evolve::refuse_unlike(drafts.iter().map(|(draft, planned)| (draft.chosen.entity.name(), &planned.plan)))?;
    for (draft, mut planned) in drafts {
        let table = &mut planned.plan;
        if table.create {
            add_types(&mut schema.types, &source_schema, draft.chosen.table, &table.table, same_engine);
        }
        let made = table.create && schema.table(&table.table.name).is_some();
        if made {
            // Said of the entity before.
            table.notes.clear();
        }
        let (name, judged) = (draft.chosen.entity.name().to_owned(), draft.judged.clone());
        let entity = plan_entity(draft, &planned, job, options, &params).map_err(|error| judged.explain(&name, error))?;
        if !made {
            schema.tables.push(planned.plan);
        }
        entities.push(entity);
    }
    shared::refuse_shared_rows(&entities)?;
    refuse_dangling(&entities, &schema, &target_schema)?;
    if state.exists().await? {
        note_trigger_columns(&job.name, &mut entities, state.as_ref()).await?;
    }
    let can = sink.capabilities().together;
    keys::translate(job, &mut entities, &source_schema, &target_schema, default.as_deref())?;
    entities.iter().try_for_each(columns::refuse_unfit)?;
    let Cycles { together, refusals } = references::plan(job, &mut entities, &source_schema, &target_schema, can, &mut notes)?;
    keys::settle(&mut entities);
    cascades::find(job, &mut entities, &target_schema);
    cascades::refuse(job, &entities)?;
    sets::refuse(&entities, sink)?;
    let stages = stages::of(&entities);
    let plan = Plan {
        job: job.name.clone(),
        mode: job.mode,
        source: format!("{} {}", source_schema.engine, source_schema.version),
        target: format!("{} {}", target_schema.engine, target_schema.version),
        entities,
        stages,
        together,
        schema,
        notes,
        source_identity: identity,
        left: Vec::new(),
        left_unknown: false,
    };
    Ok((plan, refusals))
}

/// Notes the columns that the target's triggers were seen to alter by earlier runs.
async fn note_trigger_columns(job: &str, entities: &mut [EntityPlan], state: &dyn TargetState) -> Result<()> {
    for entity in entities.iter_mut().filter(|e| e.target.triggers.iter().any(|t| t.fires_on_write)) {
        let checkpoints = state.checkpoints(job, &entity.name).await?;
        let columns: BTreeSet<String> = checkpoints.into_iter().flat_map(|(_, c)| c.trigger_columns).collect();
        if !columns.is_empty() {
            let list = columns.into_iter().collect::<Vec<_>>().join(", ");
            entity
                .notes
                .push(format!("the target's triggers own ({list}): what they make of it is neither a change nor a difference"));
        }
    }
    Ok(())
}

/// A table cannot be copied into itself; into another of the same database it can.
fn refuse_itself(drafts: &[Draft<'_>]) -> Result<()> {
    for draft in drafts {
        if draft.existing.as_ref().is_some_and(|t| t.name == draft.chosen.table.name) {
            let message = format!("source and target are the same database, and {} would be copied into itself", draft.name);
            return Err(Error::new(ErrorKind::Config, message).with("entity", draft.chosen.entity.name()));
        }
    }
    Ok(())
}

/// Refuses an existing table that refers to a table which neither exists nor is made: SQLite lets such a reference be declared, and
/// then writes no row.
fn refuse_dangling(entities: &[EntityPlan], schema: &SchemaPlan, target: &DatabaseSchema) -> Result<()> {
    let made = schema.tables.iter().map(|planned| &planned.table.name);
    let known: Vec<&TableName> = target.tables.iter().map(|table| &table.name).chain(made).collect();
    for entity in entities.iter().filter(|entity| !entity.create) {
        for reference in &entity.target.foreign_keys {
            let parent = &reference.parent;
            if !known.iter().any(|name| name.name.eq_ignore_ascii_case(&parent.name)) {
                let columns = reference.columns.join(", ");
                let message = format!(
                    "the table {} refers by ({columns}) to {parent}, which does not exist at the target; no row can be written into it",
                    entity.target.name
                );
                return Err(Error::new(ErrorKind::Schema, message).with("entity", &entity.name));
            }
        }
    }
    Ok(())
}

/// Adds the types that a table's columns need, and the table that is `made` of it, with those that they are made of first; and the
/// extensions that its indexes need. Only where source and target are of one engine.
fn add_types(types: &mut Vec<TypeSchema>, database: &DatabaseSchema, table: &TableSchema, made: &TableSchema, same_engine: bool) {
    if !same_engine {
        return;
    }
    let mut wanted: Vec<&TypeSchema> = Vec::new();
    let read = table.columns.iter().chain(table.computed.iter().map(|computed| &computed.column));
    let mut texts: Vec<String> = read.map(|c| format!("{} {}", c.native_type, c.default.as_deref().unwrap_or(""))).collect();
    texts.extend(made.columns.iter().filter_map(|c| Some(c.generated.as_ref()?.expression.clone())));
    // Conditions may cast to a type that no column has. What is not carried over needs nothing.
    texts.extend(made.checks.iter().map(|check| check.expression.clone()));
    texts.extend(made.indexes.iter().map(|index| index.definition.clone()));
    while let Some(text) = texts.pop() {
        for candidate in database.types.iter().filter(|t| mentions(&text, &t.name.name)) {
            if !wanted.iter().any(|w| w.name == candidate.name) {
                wanted.push(candidate);
                texts.push(candidate.definition.clone());
            }
        }
    }
    for extension in made.indexes.iter().flat_map(|index| &index.extensions) {
        let of_it = |t: &&TypeSchema| matches!(&t.kind, TypeKind::Extension { extension: name } if name == extension);
        // Each of its types stands for the whole extension.
        if !wanted.iter().any(of_it) {
            wanted.extend(database.types.iter().find(of_it));
        }
    }
    // What a type is made of is found after it: the other way round is the order to create them in.
    for candidate in wanted.into_iter().rev() {
        if !types.iter().any(|t| t.name == candidate.name) {
            types.push(candidate.clone());
        }
    }
}

/// Whether a text holds a name as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let text = text.replace("\"\"", "\"");
    text.match_indices(name).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(word) && !text[at + name.len()..].chars().next().is_some_and(word)
    })
}

/// The columns that identify a row: those that the job names, else the source's own key; none where rows are replaced together.
pub(super) fn key_of(entity: &Entity, source: &TableSchema) -> Vec<String> {
    match (&entity.key[..], &entity.replace_per[..]) {
        ([], []) => source.natural_key().unwrap_or_default(),
        (key, _) => key.to_vec(),
    }
}

fn plan_entity(
    draft: Draft<'_>,
    planned: &Planned,
    job: &Job,
    options: &RunOptions,
    params: &BTreeMap<String, Parameter>,
) -> Result<EntityPlan> {
    let Draft { chosen, transform, judged, mut notes, .. } = draft;
    let Chosen { entity, table: source, .. } = chosen;
    let Planned { plan: table, placed } = planned;
    let after = transform.as_ref().map_or(source, |transform| transform.table());
    notes.extend(judged.drift.iter().map(|drift| drift.note()));
    let mut columns = columns::pair_all(&entity, after, planned, job.deletes.column.as_deref(), &judged, &mut notes)?;
    for column in &mut columns {
        let made = column.source.as_deref().zip(transform.as_deref()).and_then(|(name, transform)| transform.constant(name));
        if let Some(made) = made {
            // One that does not fit refuses every row, by its column.
            column.constant = conform(made.clone(), &column.target_type).ok();
        }
    }
    let key = key_of(&entity, source);
    let mut target_key = Vec::with_capacity(key.len());
    for column in &key {
        match columns.iter().find(|c| c.source.as_ref() == Some(column)) {
            Some(plan) => target_key.push(plan.target.clone()),
            None => {
                let message = format!("the key's column {column} is not written to the target; give another key");
                return Err(Error::new(ErrorKind::Config, message).with("entity", entity.name()));
            }
        }
    }
    // A table that is made for one entity alone has its key.
    let alone = table.create && placed.is_none();
    let apart = if alone { Vec::new() } else { shared::telling_apart(job, &entity, &columns) };
    if !alone && !key.is_empty() {
        target_key.extend(shared::beyond_the_key(&table.table, &target_key, &apart, &columns));
    }
    if !table.create {
        columns::refuse_spelled_numbers(&entity, &columns, &key)?;
    }
    let generated = keys::generated(&entity, source, table, &key, &target_key)?;
    notes.extend(table.notes.iter().cloned());
    let set = sets::plan(&entity, &columns)?;
    if let Some(set) = &set {
        notes.extend(sets::notes(job, set));
    } else if key.is_empty() {
        notes.extend(keyless::notes(job, options));
    } else if !table.create && !table.table.is_unique(&target_key) {
        notes.push(format!("no unique index of the target covers the key ({})", target_key.join(", ")));
    }
    if !table.create {
        for trigger in table.table.triggers.iter().filter(|t| t.fires_on_write) {
            notes.push(format!("the target's trigger {} runs on every row written", trigger.name));
        }
        notes.extend(table.table.write_obstacles.iter().cloned());
    }
    let mut cursor = columns::cursor(job, options, &entity, source, &key)?;
    let reads = |name: &str| transform.as_ref().is_some_and(|transform| transform.reads().iter().any(|read| read == name));
    if let Some(impure) = source.computed.iter().find(|computed| !computed.pure && reads(&computed.column.name)) {
        notes.push(format!(
            "all rows are read in every run: the expression of the column {} may give another value for a row that has not changed; \
             pure = true says that it does not",
            impure.made
        ));
        cursor = None;
    }
    if let Some(cursor) = &cursor {
        notes.push(format!(
            "changes are found by the column {}: what it does not tell is seen once all rows are read, as they are where their number does not fit",
            cursor.column
        ));
    }
    let parsed_filter =
        entity.filter.as_deref().map(|sql| Filter::parse(sql, params)).transpose().context("entity", entity.name())?;
    Ok(EntityPlan {
        name: entity.name().to_owned(),
        source: source.clone(),
        target: table.table.clone(),
        create: table.create,
        level: 0,
        stage: stage::place_of(&job.stages, entity.name()).map(|place| job.stages[place].name.clone()),
        key_is_unique: key.is_empty() || source.is_unique(&key),
        key,
        target_key,
        apart,
        set,
        columns,
        filter: entity.filter.clone(),
        row_estimate: source.row_estimate,
        references: Vec::new(),
        cascades: Vec::new(),
        holders: Vec::new(),
        orphans: Arc::new([]),
        placeholders: Vec::new(),
        together: None,
        generated,
        translations: Vec::new(),
        transform,
        drift: judged.drift,
        source_columns: judged.columns,
        cursor,
        notes,
        parsed_filter,
    })
}

/// Refuses to fill existing tables that refer to one another in a cycle, unless they were filled before.
async fn refuse(refusals: &[Refusal], job: &str, sink: &dyn Sink) -> Result<()> {
    let state = sink.state();
    let exists = !refusals.is_empty() && state.exists().await?;
    for refusal in refusals {
        if let Some(message) = &refusal.against {
            return Err(Error::new(ErrorKind::Config, message).with("entity", &refusal.entities[0]).with("field", "stages"));
        }
        for entity in &refusal.entities {
            let filled = exists && state.checkpoints(job, entity).await?.iter().any(|(_, c)| c.done);
            if !filled {
                let message = match refusal.by_new_ids {
                    true => format!(
                        "tables refer to one another in a cycle by ids that the target gives and columns that are never NULL, so that no row \
                         can be the first: {}; let one of the columns be NULL for a while",
                        refusal.path
                    ),
                    false => format!(
                        "existing tables refer to one another in a cycle, which cannot be filled row by row: {}; {}let the job create them, or drop these references for the load",
                        refusal.path,
                        refusal.keyless.as_ref().map_or_else(String::new, |name| format!(
                            "give {name} a key, without which its rows are written once, "
                        ))
                    ),
                };
                return Err(Error::new(ErrorKind::Schema, message).with("entity", entity));
            }
        }
    }
    Ok(())
}
