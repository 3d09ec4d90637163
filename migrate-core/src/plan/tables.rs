//! The tables of a plan's entities: those that are there, and those that the job makes, for one entity or for several.

use super::build::key_of;
use super::columns;
use super::drift::Judged;
use super::keys;
use super::names::Chosen;
use super::united::{Columns, Part, unite};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::schema::{DatabaseSchema, ForeignKey, TableKind, TableName, TableSchema};
use crate::sink::{CreateRequest, Sink, TablePlan};
use crate::source::Source;
use crate::transform::{TransformPlan, Transformers};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An entity that is being planned.
pub(super) struct Draft<'a> {
    pub(super) chosen: Chosen<'a>,
    pub(super) name: TableName,
    pub(super) transform: Option<Arc<TransformPlan>>,
    pub(super) existing: Option<TableSchema>,
    pub(super) started: Option<TablePlan>,
    pub(super) judged: Judged,
    pub(super) notes: Vec<String>,
}

/// What becomes of an entity's table.
pub(super) struct Planned {
    pub(super) plan: TablePlan,
    /// What the entity's columns are called there, where the table is made for several.
    pub(super) placed: Option<BTreeMap<String, String>>,
}

impl Planned {
    fn alone(plan: TablePlan) -> Self {
        Planned { plan, placed: None }
    }
}

/// Returns what becomes of each draft's table, in order. One that is made for several is planned once, and each of them has that plan.
pub(super) async fn plan_tables(
    drafts: &mut [Draft<'_>],
    code: &Transformers,
    source_schema: &DatabaseSchema,
    target_schema: &DatabaseSchema,
    source: &dyn Source,
    sink: &dyn Sink,
    mark: Option<&str>,
) -> Result<Vec<Planned>> {
    let missing = |d: &Draft<'_>| d.existing.is_none() && d.started.is_none();
    let mut refined: Vec<TableSchema> = drafts.iter().filter(|d| missing(d)).map(|d| d.chosen.table.clone()).collect();
    source.refine(&mut refined).await.context("side", "source")?;
    let mut refined = refined.into_iter();
    let references = References::of(drafts, target_schema);
    let mut plans: Vec<Option<Planned>> = Vec::with_capacity(drafts.len());
    let mut shared: BTreeMap<TableName, Vec<(usize, TableSchema)>> = BTreeMap::new();
    for (place, draft) in drafts.iter_mut().enumerate() {
        let several = references.several.contains(&draft.name);
        let existing = draft.existing.take();
        let begun = existing.is_some();
        if let Some(plan) = draft.started.take().filter(|_| begun) {
            if several {
                let projected = project(draft, draft.chosen.table, code, mark, &mut Vec::new())?;
                shared.entry(draft.name.clone()).or_default().push((place, projected));
            }
            plans.push(Some(Planned::alone(plan)));
            continue;
        }
        if let Some(table) = existing {
            check_usable(&table).context("entity", draft.chosen.entity.name())?;
            let plan = TablePlan { table, create: false, added: Vec::new(), notes: Vec::new() };
            plans.push(Some(Planned::alone(plan)));
            continue;
        }
        let table = refined.next().unwrap_or_else(|| draft.chosen.table.clone());
        if several && !draft.chosen.entity.generated.is_empty() {
            let message = format!("{} is made for several entities, and gives no ids then; create the table first", draft.name);
            return Err(Error::new(ErrorKind::Config, message).with("entity", draft.chosen.entity.name()));
        }
        let mut notes: Vec<String> = table.not_described.iter().map(|what| format!("{what} is not carried over")).collect();
        let mut projected = project(draft, &table, code, mark, &mut notes)?;
        projected.foreign_keys.retain_mut(|key| references.lead(&draft.name, key, &mut notes));
        draft.notes.append(&mut notes);
        if several {
            shared.entry(draft.name.clone()).or_default().push((place, projected));
            plans.push(None);
            continue;
        }
        let request = CreateRequest { engine: source.name(), database: source_schema, table: &projected, name: &draft.name };
        plans.push(Some(Planned::alone(sink.plan_table(&request).context("entity", draft.chosen.entity.name())?)));
    }
    for (name, members) in shared {
        let places: Vec<usize> = members.iter().map(|(place, _)| *place).collect();
        let part = |(place, table): (usize, TableSchema)| {
            let entity = &drafts[place].chosen.entity;
            let named = |column: &String| entity.columns.rename.get(column).unwrap_or(column).clone();
            let key = key_of(entity, drafts[place].chosen.table).iter().map(named).collect();
            Part { entity, table, key }
        };
        let parts: Vec<Part<'_>> = members.into_iter().map(part).collect();
        let columns = Columns::of(&parts);
        let plan = match plans[places[0]].take() {
            Some(started) => started.plan,
            None => {
                let mut notes = Vec::new();
                let united = unite(&parts, &name, source.name() == sink.name(), &mut notes)?;
                let request = CreateRequest { engine: source.name(), database: source_schema, table: &united, name: &name };
                let mut plan = sink.plan_table(&request).context("table", &name)?;
                plan.notes.splice(..0, notes);
                columns.open(&mut plan);
                plan
            }
        };
        let placed = columns.placed(&plan.table);
        for place in places {
            plans[place] = Some(Planned { plan: plan.clone(), placed: Some(placed.clone()) });
        }
    }
    let lost = || Error::new(ErrorKind::Internal, "a table was not planned");
    plans.into_iter().map(|plan| plan.ok_or_else(lost)).collect()
}

/// Returns a source's table as a draft's entity wants to see it created.
fn project(
    draft: &Draft<'_>,
    table: &TableSchema,
    code: &Transformers,
    mark: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<TableSchema> {
    let entity = &draft.chosen.entity;
    // The columns that are moved as they are have been looked at more closely.
    let key = key_of(entity, table);
    let refined = TransformPlan::new(entity, table, &key, code.get(entity.name()))?;
    let after = refined.as_ref().map_or(table, TransformPlan::table);
    let created = keys::as_created(entity);
    let mut projected = columns::project(&created, after, refined.as_ref(), notes);
    keys::ask_for_ids(&created, &mut projected);
    if let Some(mark) = mark {
        columns::add_mark(&mut projected, mark);
    }
    rename_indexes(&mut projected, &table.name, &draft.name);
    Ok(projected)
}

/// Names keys and indexes after a table that is made under another name: these names are the schema's, not the table's, and the source's
/// table may be made twice.
fn rename_indexes(table: &mut TableSchema, from: &TableName, to: &TableName) {
    if from.name.is_empty() || from.name == to.name {
        return;
    }
    let rename = |name: &mut String| {
        let rest = name.strip_prefix(&from.name);
        *name = rest.map_or_else(|| format!("{}_{name}", to.name), |rest| format!("{}{rest}", to.name));
    };
    let keys = table.primary_key.iter_mut().chain(&mut table.unique_keys);
    keys.filter_map(|key| key.name.as_mut()).for_each(rename);
    table.indexes.iter_mut().for_each(|index| rename(&mut index.name));
}

/// Where the references of tables that are made lead.
struct References<'a> {
    names: BTreeMap<TableName, BTreeSet<TableName>>,
    renames: BTreeMap<TableName, BTreeMap<String, String>>,
    /// Tables that several entities feed.
    several: Vec<TableName>,
    target: &'a DatabaseSchema,
}

impl<'a> References<'a> {
    fn of(drafts: &[Draft<'_>], target: &'a DatabaseSchema) -> Self {
        let sources = || drafts.iter().map(|d| d.chosen.table.name.clone());
        let fed = |name: &TableName| drafts.iter().filter(|d| &d.name == name).count();
        let mut names: BTreeMap<TableName, BTreeSet<TableName>> = BTreeMap::new();
        for (source, draft) in sources().zip(drafts) {
            names.entry(source).or_default().insert(draft.name.clone());
        }
        References {
            names,
            renames: sources().zip(drafts.iter().map(|d| d.chosen.entity.columns.rename.clone())).collect(),
            several: drafts.iter().map(|d| d.name.clone()).filter(|name| fed(name) > 1).collect(),
            target,
        }
    }

    /// Turns a source's reference into one of the target's table `of`, and says whether there can be one.
    fn lead(&self, of: &TableName, key: &mut ForeignKey, notes: &mut Vec<String>) -> bool {
        if let Some(renamed) = self.renames.get(&key.parent) {
            for column in &mut key.parent_columns {
                if let Some(new) = renamed.get(column) {
                    column.clone_from(new);
                }
            }
        }
        let columns = key.columns.join(", ");
        let not_carried = |why: String| format!("foreign key ({columns}) is not carried over: {} {why}", key.parent);
        match self.parent_of(of, &key.parent) {
            Parent::Table(name) => key.parent = name,
            Parent::None => {
                notes.push(not_carried("is neither moved nor in the target".to_owned()));
                return false;
            }
            Parent::Several(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                notes.push(not_carried(format!("may be any of {} there", names.join(", "))));
                return false;
            }
        }
        let parent = self.target.tables.iter().find(|table| table.name == key.parent);
        if self.several.contains(&key.parent) && !parent.is_some_and(|table| table.is_unique(&key.parent_columns)) {
            notes.push(format!(
                "foreign key ({columns}) is not carried over: {} holds rows of several entities, and ({}) is not its key",
                key.parent,
                key.parent_columns.join(", ")
            ));
            return false;
        }
        true
    }

    /// Returns what a table of the source is to a table of the target that refers to it: the one that it is moved to, else the one of its name
    /// in the schema of both, of the referring table, or in the only one that has one.
    fn parent_of(&self, of: &TableName, parent: &TableName) -> Parent {
        let named = |table: &&TableSchema| table.name.name == parent.name;
        let names: BTreeSet<TableName> = match self.names.get(parent) {
            Some(names) => names.clone(),
            None => self.target.tables.iter().filter(named).map(|table| table.name.clone()).collect(),
        };
        let beside = |schema: &Option<String>| names.iter().find(|name| &name.schema == schema);
        match (names.first(), names.len()) {
            (None, _) => Parent::None,
            (Some(name), 1) => Parent::Table(name.clone()),
            (Some(_), _) => match beside(&of.schema).or_else(|| beside(&parent.schema)) {
                Some(name) if !self.names.contains_key(parent) => Parent::Table(name.clone()),
                Some(_) | None => Parent::Several(names),
            },
        }
    }
}

/// What a table of the source is in the target.
enum Parent {
    Table(TableName),
    Several(BTreeSet<TableName>),
    None,
}

fn check_usable(table: &TableSchema) -> Result<()> {
    let what = match table.kind {
        TableKind::Table | TableKind::Partitioned | TableKind::Partition => return Ok(()),
        TableKind::View => "a view",
        TableKind::MaterializedView => "a materialised view",
        TableKind::Foreign => "a foreign table",
        TableKind::Virtual => "a virtual table",
    };
    Err(Error::new(ErrorKind::Schema, format!("the target {} is {what}, which rows cannot be copied into", table.name)))
}
