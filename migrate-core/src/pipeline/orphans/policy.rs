//! Finds out, before anything is written, which parents are nowhere, for references whose orphans the job has a policy for.

use super::{examples, find};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::{DeleteMode, Job, LeftFilter, OrphanPolicy};
use crate::pipeline::keymap::{source_keys, with_ids};
use crate::pipeline::known::KnownKeys;
use crate::pipeline::sweep::present;
use crate::plan::{EntityPlan, Orphaned, Plan, ReferencePlan, instead_of_parent};
use crate::sink::Sink;
use crate::source::{Orphans, PageRequest, Snapshot};
use crate::state::{Scope, TargetState};
use crate::value::conform::conform;
use crate::value::{DataType, Key, Value};
use std::collections::{HashMap, HashSet};

/// Different parents that may be missing for one reference: they are held in memory while a run lasts.
const MOST: usize = 200_000;
/// Keys that are looked up in the target at once.
const AT_ONCE: usize = 1_000;
/// What else can be done, for a job file that says nothing.
const HINT: &str =
    "; orphans = \"null\", \"quarantine\", \"placeholder\" or \"allow\" in the job file says what else becomes of such rows";

/// Is told which parents of a reference are nowhere.
pub(crate) type Allowed<'s> = dyn Fn(&EntityPlan, &ReferencePlan, &HashSet<Key>) + Sync + 's;

/// A search for the orphans of a plan.
pub(crate) struct Search<'s> {
    pub(crate) job: &'s Job,
    pub(crate) plan: &'s Plan,
    pub(crate) sink: &'s dyn Sink,
    pub(crate) state: &'s dyn TargetState,
    /// Whether orphans that the job has fail are an error; else they are left as they are.
    pub(crate) fails: bool,
    /// Told which parents are nowhere for whose rows the job lets them wait.
    pub(crate) allowed: Option<&'s Allowed<'s>>,
}

/// A plan with its orphans.
pub(crate) struct Settled {
    pub(crate) plan: Plan,
    /// What is to be said of them, each with its entity.
    pub(crate) messages: Vec<(String, String)>,
}

impl Search<'_> {
    /// Returns the plan with the orphans of each reference that has a policy; `None` if there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Constraint`] where there are orphans that the job has fail.
    pub(crate) async fn settle(&self, snapshot: &mut dyn Snapshot) -> Result<Option<Settled>> {
        let mut settled: Option<Settled> = None;
        for entity in &self.plan.entities {
            let (mut rules, mut messages) = (Vec::new(), Vec::new());
            for reference in &entity.references {
                let Some(policy) = reference.orphans.filter(|policy| self.fails || *policy != OrphanPolicy::Fail) else {
                    self.tell_of_allowed(entity, reference, snapshot).await?;
                    continue;
                };
                let Some((orphaned, orphans)) = self.of_reference(entity, reference, policy, snapshot).await? else { continue };
                let what = format!(
                    "{} {} by ({}) to a parent that is not there{}",
                    orphans.rows,
                    if orphans.rows == 1 { "row refers" } else { "rows refer" },
                    reference.columns.join(", "),
                    examples(&orphans)
                );
                let then = match policy {
                    OrphanPolicy::Fail => {
                        let hint = if reference.orphans_unsaid { HINT } else { "" };
                        let error = Error::new(ErrorKind::Constraint, format!("{what}; the run is refused{hint}"));
                        return Err(error.with("entity", &entity.name).with("parent", &reference.table));
                    }
                    OrphanPolicy::Null => "NULL is written instead, until it is",
                    OrphanPolicy::Quarantine => "they are kept in quarantine, until it is",
                    OrphanPolicy::Placeholder => "a placeholder stands in, until it is",
                    OrphanPolicy::Allow => continue,
                };
                messages.push((entity.name.clone(), format!("{what}: {then}")));
                rules.push(orphaned);
            }
            if !rules.is_empty() {
                let settled = settled.get_or_insert_with(|| Settled { plan: self.plan.clone(), messages: Vec::new() });
                settled.messages.append(&mut messages);
                if let Some(entity) = settled.plan.entities.iter_mut().find(|e| e.name == entity.name) {
                    entity.orphans = rules.into();
                }
            }
        }
        Ok(settled)
    }

    /// Tells which parents are nowhere, where rows are to wait for them.
    async fn tell_of_allowed(&self, entity: &EntityPlan, reference: &ReferencePlan, snapshot: &mut dyn Snapshot) -> Result<()> {
        let Some(allowed) = self.allowed else { return Ok(()) };
        if reference.late.is_none() || reference.source.as_ref().is_none_or(|source| source.guaranteed) {
            return Ok(());
        }
        match self.of_reference(entity, reference, OrphanPolicy::Allow, snapshot).await {
            Ok(Some((orphaned, _))) => allowed(entity, reference, &orphaned.parents),
            Ok(None) => {}
            // Where nobody can tell, a plan does not say.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn of_reference(
        &self,
        entity: &EntityPlan,
        reference: &ReferencePlan,
        policy: OrphanPolicy,
        snapshot: &mut dyn Snapshot,
    ) -> Result<Option<(Orphaned, Orphans)>> {
        let parent = reference.entity.as_ref().and_then(|name| self.plan.parent(name));
        let (Some(parent), Some(source)) = (parent, &reference.source) else { return Ok(None) };
        let unsupported = |message| Err(Error::new(ErrorKind::Unsupported, message).with("entity", &entity.name));
        let Some(mut orphans) = find(entity, parent, reference, source, snapshot, MOST + 1).await? else {
            if reference.orphans_unsaid {
                return Ok(None);
            }
            return unsupported(format!("the source cannot tell which rows are orphans, which orphans = \"{policy}\" needs"));
        };
        let too_many = || {
            let columns = reference.columns.join(", ");
            unsupported(format!(
                "the rows that refer by ({columns}) to {} miss more than {MOST} parents, too many for orphans = \"{policy}\"",
                parent.name
            ))
        };
        let all = orphans.parents.len() <= MOST;
        // One parent that is missing is enough to refuse a run.
        if !all && policy != OrphanPolicy::Fail {
            return too_many();
        }
        if orphans.parents.is_empty() {
            return Ok(None);
        }
        let looked = orphans.parents.len();
        let missing = self.missing_in_target(parent, reference, std::mem::take(&mut orphans.parents), snapshot).await?;
        if missing.is_empty() {
            // Those that were not looked up may be missing all the same, which the job file wants to know.
            return if all || reference.orphans_unsaid { Ok(None) } else { too_many() };
        }
        if missing.len() < looked {
            // Some of the rows have their parent in the target: which of them, nobody has asked.
            orphans.keys.clear();
        }
        let instead = instead_of_parent(entity, reference);
        let reason = format!("the row of {} that it refers to is not there", parent.source.name);
        let (columns, when) = (source.columns.clone(), reference.when.clone());
        Ok(Some((Orphaned { columns, when, instead, reason, parents: missing }, orphans)))
    }

    /// Returns those of some parents, which the source has not, that the target will not have either.
    pub(super) async fn missing_in_target(
        &self,
        parent: &EntityPlan,
        reference: &ReferencePlan,
        parents: Vec<Key>,
        snapshot: &mut dyn Snapshot,
    ) -> Result<HashSet<Key>> {
        let (job, state) = (self.job, self.state);
        // A table that this job creates is there once something was loaded into it.
        let scopes = scopes(job, parent, state).await?;
        if parents.is_empty() || (parent.create && scopes.is_empty()) {
            return Ok(parents.into_iter().collect());
        }
        let source_columns = reference.source.as_ref().map(|source| &source.parent_columns[..]).unwrap_or_default();
        let mut columns = reference.parent_columns.clone();
        columns.extend(parent.target_key.iter().filter(|name| !reference.parent_columns.contains(name)).cloned());
        let places: Vec<usize> =
            parent.target_key.iter().filter_map(|name| columns.iter().position(|column| column == name)).collect();
        let types: Vec<&DataType> = columns.iter().filter_map(|name| parent.target.column(name).map(|c| &c.data_type)).collect();
        let mut target = self.sink.as_source().open_snapshot().await.context("side", "target")?;
        let request = PageRequest::new(&parent.target, &columns, &reference.parent_columns);
        // Those that are there, each with the keys that the target's rows of it have.
        let mut there: Vec<(&Key, Vec<Key>)> = Vec::new();
        for some in parents.chunks(AT_ONCE) {
            let mut keys: Vec<(Key, &Key)> = Vec::with_capacity(some.len());
            let replaced = with_ids(state, &job.name, parent, source_columns, some.to_vec()).await?;
            for (replaced, key) in replaced.iter().zip(some) {
                let Some(replaced) = replaced else { continue };
                let values = replaced.values()?.into_iter().zip(&types).map(|(value, data_type)| conform(value, data_type));
                // What does not fit the parent's column is none of its values.
                let Ok(values) = values.collect::<std::result::Result<Vec<_>, _>>() else { continue };
                keys.push((Key::from_values(&values), key));
            }
            let wanted: Vec<Key> = keys.iter().map(|(target, _)| target.clone()).collect();
            let page = target.read_rows(&request, &wanted).await.context("side", "target")?;
            let mut held: HashMap<Key, Vec<Key>> = HashMap::with_capacity(page.row_count());
            for row in page.rows() {
                let values = row.values()?;
                let referred = spelled(&values[..reference.parent_columns.len()], &types)?;
                held.entry(referred).or_default().push(Key::from_values(places.iter().map(|place| &values[*place])));
            }
            there.extend(keys.into_iter().filter_map(|(target, key)| Some((key, held.get(&target)?.clone()))));
        }
        let going = self.what_goes(parent, &scopes, &there, source_columns, snapshot).await?;
        let stays = |(key, rows): &(&Key, Vec<Key>)| rows.iter().any(|row| !going.contains(row)).then(|| (*key).clone());
        let there: HashSet<Key> = there.iter().filter_map(stays).collect();
        Ok(parents.into_iter().filter(|key| !there.contains(key)).collect())
    }

    /// Returns the keys, as the target has them, of those rows of parents that the source has lost, or that have left the filter, and that
    /// this very run is about to take away.
    async fn what_goes(
        &self,
        parent: &EntityPlan,
        scopes: &[Scope],
        there: &[(&Key, Vec<Key>)],
        source_columns: &[String],
        snapshot: &mut dyn Snapshot,
    ) -> Result<HashSet<Key>> {
        let lost_go = self.job.deletes.mode == DeleteMode::Hard;
        let left_go = self.job.left_filter == LeftFilter::Delete && self.job.deletes.mode != DeleteMode::Soft;
        let filtered = parent.parsed_filter.is_some();
        if there.is_empty() || parent.is_keyless() || !(lost_go || filtered && left_go) {
            return Ok(HashSet::new());
        }
        let known = self.known_as(parent, there, source_columns).await?;
        let own: Vec<Key> = own_of(self.state, scopes, &known).await?.into_iter().collect();
        let mut going = HashSet::new();
        for some in own.chunks(AT_ONCE) {
            let left = if filtered { present(parent, some, false, snapshot).await? } else { HashSet::new() };
            let goes = |key: &&Key| if left.contains(*key) { left_go } else { lost_go };
            going.extend(some.iter().filter(goes).filter_map(|key| known.get(key)).flatten().cloned());
        }
        Ok(going)
    }

    /// Returns rows of parents, by the keys that the ledger has for them. A reference to the key itself, in whatever order, says it; else the
    /// target's row does.
    async fn known_as(
        &self,
        parent: &EntityPlan,
        there: &[(&Key, Vec<Key>)],
        source_columns: &[String],
    ) -> Result<HashMap<Key, Vec<Key>>> {
        let place = |name: &String| source_columns.iter().position(|column| column == name);
        let places: Option<Vec<usize>> = parent.key.iter().map(place).collect();
        let mut known: HashMap<Key, Vec<Key>> = HashMap::new();
        if let Some(places) = places.filter(|_| source_columns.len() == parent.key.len()) {
            for (key, rows) in there {
                let values = key.values()?;
                let own = Key::from_values(places.iter().map(|place| &values[*place]));
                known.entry(own).or_default().extend_from_slice(rows);
            }
            return Ok(known);
        }
        let types = key_types(parent);
        let rows: Vec<&Key> = there.iter().flat_map(|(_, rows)| rows).collect();
        for some in rows.chunks(AT_ONCE) {
            let some: Vec<Key> = some.iter().map(|key| (*key).clone()).collect();
            let sources = source_keys(self.state, &self.job.name, parent, &some).await?;
            for (own, row) in sources.into_iter().zip(some) {
                let Some(own) = own else { continue };
                known.entry(spelled(&own.values()?, &types)?).or_default().push(row);
            }
        }
        Ok(known)
    }
}

/// The types that the source has for an entity's key, which the ledger spells it in.
fn key_types(entity: &EntityPlan) -> Vec<&DataType> {
    entity.key.iter().filter_map(|name| entity.source.column(name).map(|c| &c.data_type)).collect()
}

/// Values of the target as a key, in these types.
fn spelled(values: &[Value<'_>], types: &[&DataType]) -> Result<Key> {
    let values = values.iter().zip(types);
    let values: Vec<_> =
        values.map(|(value, data_type)| conform(value.clone(), data_type).unwrap_or_else(|_| value.clone())).collect();
    Ok(Key::from_values(&values))
}

/// Returns those of some keys that the ledger knows, or an earlier run could not delete: rows of this job's own, which go once the source
/// has lost them and the target lets them. Others' rows may hold them for as long as they like: that makes them no parents again.
async fn own_of(state: &dyn TargetState, scopes: &[Scope], keys: &HashMap<Key, Vec<Key>>) -> Result<HashSet<Key>> {
    let mut own = HashSet::new();
    for scope in scopes {
        let mut known = KnownKeys::of(state, scope);
        while let Some(some) = known.next().await? {
            own.extend(some.into_iter().filter(|key| keys.contains_key(key)));
        }
    }
    Ok(own)
}

/// The parts of an entity that the target remembers.
async fn scopes(job: &Job, entity: &EntityPlan, state: &dyn TargetState) -> Result<Vec<Scope>> {
    if !state.exists().await.context("side", "target")? {
        return Ok(Vec::new());
    }
    let parts = state.checkpoints(&job.name, &entity.name).await?;
    let scope = |(partition, _)| Scope { job: job.name.clone(), entity: entity.name.clone(), partition };
    Ok(parts.into_iter().map(scope).collect())
}
