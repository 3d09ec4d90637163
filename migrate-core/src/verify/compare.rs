//! The comparison of one entity.

use super::bucket::{Bucket, Buckets, place};
use super::report::{BrokenRow, Difference, DifferenceKind, EntityVerification};
use super::side::{Side, SideRow, Values};
use crate::diff::{COPIES_FORMAT, FORMAT, LedgerBlock};
use crate::error::Result;
use crate::pipeline::Cell;
use crate::pipeline::keymap::{source_keys, without_names};
use crate::pipeline::sets::parent_of;
use crate::plan::EntityPlan;
use crate::sink::Sink;
use crate::source::Source;
use crate::state::{Scope, TargetState, to_hex};
use crate::value::canonical::{self, Checksum};
use crate::value::{Key, Value, text};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Rows whose keys are kept at once while different buckets are looked into.
const ROWS_AT_ONCE: u64 = 100_000;
/// Differences that are listed with their key and columns.
const LISTED: usize = 100;
/// Ledger blocks that are read together.
const BLOCKS_AT_ONCE: usize = 32;
/// Keys that are read again together.
const KEYS_AT_ONCE: usize = 500;

/// What is known of a job's entity beside its plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Columns that the target's triggers own.
    pub(super) trigger_columns: BTreeSet<String>,
    /// Keys of rows in quarantine, as the ledger has them.
    pub(super) quarantined: HashSet<Key>,
}

/// Compares an entity's rows.
///
/// # Errors
/// Those of reading either side.
pub(super) async fn verify_entity(
    entity: &EntityPlan,
    source: &dyn Source,
    sink: &dyn Sink,
    known: &Known,
    job: &str,
) -> Result<EntityVerification> {
    let (mut there, mut here) =
        (Side::of_source(entity, &known.trigger_columns, job, sink.state()), Side::of_target(entity, &known.trigger_columns));
    let target = sink.as_source();
    let mut report = EntityVerification {
        name: entity.name.clone(),
        source: entity.source.name.to_string(),
        target: entity.target.name.to_string(),
        encoding: canonical::VERSION,
        ledger: if entity.is_keyless() && entity.set.is_none() { COPIES_FORMAT } else { FORMAT },
        not_compared: known.trigger_columns.iter().cloned().collect(),
        ..EntityVerification::default()
    };
    // First all rows, summed up.
    let (mut source_sums, mut target_sums) = (Buckets::new(), Buckets::new());
    let (mut of_source, mut of_target) = tokio::try_join!(source.open_snapshot(), target.open_snapshot())?;
    report.position = of_source.position().clone();
    let mut refused = 0;
    let mut take_source = |page: super::side::SideRows| {
        refused += page.refused.len() as u64 + page.unknown;
        page.rows.iter().for_each(|row| source_sums.add(row.group(), &row.checksum));
    };
    let mut take_target =
        |page: super::side::SideRows| page.rows.iter().for_each(|row| target_sums.add(row.group(), &row.checksum));
    tokio::try_join!(
        there.read_all(of_source.as_mut(), Values::OfNone, &mut take_source),
        here.read_all(of_target.as_mut(), Values::OfNone, &mut take_target)
    )?;
    drop((of_source, of_target));
    report.quarantined = refused;
    report.source_left_out = refused;
    let equal = source_sums.equal(&target_sums);
    let mut compared = Compared { source: equal, target: equal };

    // Then the keys of what differs, as many buckets at a time as fit.
    let mut different = source_sums.different(&target_sums).into_iter().peekable();
    drop((source_sums, target_sums));
    while different.peek().is_some() {
        let (mut buckets, mut rows) = (HashSet::new(), 0);
        while let Some((place, count)) = different.next_if(|(_, count)| buckets.is_empty() || rows + count <= ROWS_AT_ONCE) {
            buckets.insert(place);
            rows += count;
        }
        let (there, here, report, compared) = (&mut there, &mut here, &mut report, &mut compared);
        let mut look = Look { entity, job, state: sink.state(), there, here, known, report, compared };
        look.look_into(source, target.as_ref(), &buckets).await?;
    }
    let Compared { source, target } = compared;
    (report.source_rows, report.target_rows) = (source.rows, target.rows);
    (report.source_checksum, report.target_checksum) = (to_hex(&source.sum.to_be_bytes()), to_hex(&target.sum.to_be_bytes()));
    Ok(report)
}

/// The rows of each side that were compared, summed up: the same if and only if no row differs.
///
/// Of buckets that differ, each row counts as it was when it was last looked at.
struct Compared {
    source: Bucket,
    target: Bucket,
}

/// A look into buckets that differ.
struct Look<'a> {
    entity: &'a EntityPlan,
    job: &'a str,
    state: Arc<dyn TargetState>,
    there: &'a mut Side,
    here: &'a mut Side,
    known: &'a Known,
    report: &'a mut EntityVerification,
    compared: &'a mut Compared,
}

/// The rows of one side's buckets.
#[derive(Default)]
struct Found {
    rows: HashMap<Key, (Key, Checksum, u64)>,
    refused: HashSet<Key>,
}

impl Found {
    /// How often a row is there.
    fn copies(&self, key: &Key) -> u64 {
        self.rows.get(key).map_or(0, |(.., count)| *count)
    }

    /// Whether a row is there once, as this checksum has it.
    fn holds(&self, key: &Key, checksum: &Checksum) -> bool {
        self.rows.get(key).is_some_and(|(_, found, count)| found == checksum && *count == 1)
    }

    fn take(&mut self, page: super::side::SideRows, buckets: &HashSet<usize>) {
        for row in page.rows.into_iter().filter(|row| buckets.contains(&place(row.group()))) {
            let SideRow { key, own_key, checksum, .. } = row;
            self.rows.entry(key).or_insert((own_key, checksum, 0)).2 += 1;
        }
        self.refused.extend(page.refused.into_iter().filter(|key| buckets.contains(&place(key))));
    }
}

impl Look<'_> {
    async fn look_into(&mut self, source: &dyn Source, target: &dyn Source, buckets: &HashSet<usize>) -> Result<()> {
        let (mut there, mut here) = (Found::default(), Found::default());
        {
            let (mut of_source, mut of_target) = tokio::try_join!(source.open_snapshot(), target.open_snapshot())?;
            let (mut take_there, mut take_here) =
                (|page| Found::take(&mut there, page, buckets), |page| Found::take(&mut here, page, buckets));
            tokio::try_join!(
                self.there.read_all(of_source.as_mut(), Values::OfNone, &mut take_there),
                self.here.read_all(of_target.as_mut(), Values::OfNone, &mut take_here)
            )?;
        }
        if self.entity.is_keyless() {
            let strangers = self.strangers(&there, &here).await?;
            let outside = self.copies_outside(source, buckets, &there, &here).await?;
            let differing = self.count_copies(&there, &here, &strangers, &outside);
            return self.name_copies(source, target, differing).await;
        }
        // Rows that were refused are not missing, and what the target holds of an earlier version of them is not extra.
        let excused = |key: &Key, own: &Key| self.known.quarantined.contains(own) || there.refused.contains(key);
        let mut candidates: Vec<(Key, Key)> = Vec::new();
        for (key, (own, checksum, copies)) in &there.rows {
            // Of source rows that the target has one key for, it can have but one.
            self.report.source_left_out += copies - 1;
            // A key that the target has twice, for want of a unique index, is looked at with all its rows.
            if here.holds(key, checksum) {
                self.compared.source.add(checksum);
                self.compared.target.add(checksum);
            } else if excused(key, own) {
                self.report.quarantined += 1;
                self.report.source_left_out += 1;
                self.report.target_left_out += here.copies(key);
            } else {
                candidates.push((key.clone(), own.clone()));
            }
        }
        let extra: Vec<Key> = here.rows.keys().filter(|key| !there.rows.contains_key(*key)).cloned().collect();
        let sources = source_keys(self.state.as_ref(), self.job, self.entity, &extra).await?;
        for (key, own) in extra.iter().zip(sources) {
            match own {
                Some(own) if !excused(key, &own) => candidates.push((key.clone(), own)),
                // A row whose id the key map does not know is none of the job's.
                Some(_) | None => self.report.target_left_out += here.copies(key),
            }
        }
        candidates.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        for some in candidates.chunks(KEYS_AT_ONCE) {
            self.read_again(source, target, some).await?;
        }
        Ok(())
    }

    /// Reads rows that differed once more: only what still differs is a difference.
    async fn read_again(&mut self, source: &dyn Source, target: &dyn Source, keys: &[(Key, Key)]) -> Result<()> {
        let own: Vec<Key> = keys.iter().map(|(_, own)| own.clone()).collect();
        let targets: Vec<Key> = keys.iter().map(|(key, _)| key.clone()).collect();
        let (mut of_source, mut of_target) = tokio::try_join!(source.open_snapshot(), target.open_snapshot())?;
        let (there, here) =
            tokio::try_join!(self.there.read_some(of_source.as_mut(), &own), self.here.read_some(of_target.as_mut(), &targets))?;
        let there: HashMap<Key, SideRow> = there.rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        let mut held: HashMap<Key, Vec<SideRow>> = HashMap::new();
        here.rows.into_iter().for_each(|row| held.entry(row.key.clone()).or_default().push(row));
        let outside = self.outside(source, keys, &there).await?;
        for (key, own) in keys {
            let (of_source, of_target) = (there.get(key), held.get(key).map_or(&[][..], Vec::as_slice));
            let count = of_target.len() as u64;
            if of_source.is_none() && outside.contains(own) {
                // What has left the filter may stay in the target.
                self.report.target_left_out += count;
                continue;
            }
            of_source.iter().for_each(|row| self.compared.source.add(&row.checksum));
            of_target.iter().for_each(|row| self.compared.target.add(&row.checksum));
            let Some(of_source) = of_source else {
                self.note(DifferenceKind::Extra, (key, own), count, Vec::new());
                continue;
            };
            match of_target.first() {
                None => self.note(DifferenceKind::Missing, (key, own), 1, Vec::new()),
                Some(_) if of_target.iter().any(|row| row.checksum == of_source.checksum) => {}
                Some(row) => {
                    let columns = self.cells(&row.values, &of_source.values);
                    self.note(DifferenceKind::Different, (key, own), 1, columns);
                }
            }
            // The source has the row once.
            self.note(DifferenceKind::Extra, (key, own), count.saturating_sub(1), Vec::new());
        }
        Ok(())
    }

    /// Returns which of the keys that the entity lacks the source has nevertheless, outside of the filter.
    async fn outside(&self, source: &dyn Source, keys: &[(Key, Key)], there: &HashMap<Key, SideRow>) -> Result<HashSet<Key>> {
        if self.entity.parsed_filter.is_none() {
            return Ok(HashSet::new());
        }
        let lacking: Vec<Key> = keys.iter().filter(|(key, _)| !there.contains_key(key)).map(|(_, own)| own.clone()).collect();
        let mut snapshot = source.open_snapshot().await?;
        let request = crate::source::PageRequest::new(&self.entity.source, &self.entity.key, &self.entity.key);
        let page = snapshot.read_rows(&request, &without_names(&lacking)?).await?;
        page.rows().map(|row| Ok(Key::from_values(&row.values()?))).collect()
    }

    /// Takes note of so many rows of a key, in the target's spelling and the ledger's.
    fn note(&mut self, kind: DifferenceKind, (key, own): (&Key, &Key), copies: u64, columns: Vec<Cell>) {
        if copies == 0 {
            return;
        }
        match kind {
            DifferenceKind::Missing => self.report.missing += copies,
            DifferenceKind::Extra => self.report.extra += copies,
            DifferenceKind::Different => self.report.different += copies,
        }
        if self.report.differences.len() < LISTED {
            let values = key.values().unwrap_or_default();
            let key = values.iter().map(|value| text::to_text(value).into_owned()).collect();
            self.report.differences.push(Difference { kind, key, columns, checksum: None, copies });
        }
        self.report.broken.push(BrokenRow { kind, key: own.clone() });
    }

    fn cells(&self, target: &[Value<'static>], source: &[Value<'static>]) -> Vec<Cell> {
        let columns = self.there.entity.columns.iter().zip(target.iter().zip(source));
        let encoded = |value: &Value<'_>| {
            let mut bytes = Vec::new();
            canonical::encode_value(value, &mut bytes);
            bytes
        };
        let differing = columns.filter(|(_, (is, was))| encoded(is) != encoded(was));
        differing.map(|(column, (is, was))| Cell::new(&column.target, is, was)).collect()
    }

    /// Returns the sets of the target that the source has no row of and the job has never brought: they are others'.
    async fn strangers(&self, there: &Found, here: &Found) -> Result<HashSet<Key>> {
        if self.entity.set.is_none() {
            return Ok(HashSet::new());
        }
        let of_source: HashSet<&Key> = there.rows.values().map(|(parent, ..)| parent).collect();
        let parents = here.rows.values().map(|(parent, ..)| parent);
        let mut strangers: HashSet<Key> = parents.filter(|parent| !of_source.contains(parent)).cloned().collect();
        let scope = Scope { job: self.job.to_owned(), entity: self.entity.name.clone(), partition: 0 };
        let mut after = None;
        let remembers = self.state.exists().await?;
        while remembers && !strangers.is_empty() {
            let blocks = self.state.ledger_blocks(&scope, after, BLOCKS_AT_ONCE).await?;
            let Some(last) = blocks.last() else { break };
            after = Some(last.ordinal);
            for block in &blocks {
                for entry in LedgerBlock::unpack(block)?.entries {
                    strangers.remove(&Key::from_bytes(parent_of(&entry.key)?));
                }
            }
        }
        Ok(strangers)
    }

    /// Returns how often the source has rows, of which the target has more than the entity, outside of the filter.
    async fn copies_outside(
        &self,
        source: &dyn Source,
        buckets: &HashSet<usize>,
        there: &Found,
        here: &Found,
    ) -> Result<HashMap<Key, u64>> {
        let under = |key: &Key| there.copies(key);
        if self.entity.parsed_filter.is_none() || !here.rows.iter().any(|(key, (.., found))| *found > under(key)) {
            return Ok(HashMap::new());
        }
        let mut whole = self.entity.clone();
        whole.parsed_filter = None;
        let mut side = Side::of_source(&whole, &self.known.trigger_columns, self.job, self.state.clone());
        let mut all: HashMap<Key, u64> = HashMap::new();
        // Nothing is kept of what the target has not: a filter may leave most of a table out.
        let mut take = |page: super::side::SideRows| {
            let looked_at = |row: &SideRow| buckets.contains(&place(row.group())) && here.rows.contains_key(&row.key);
            page.rows.into_iter().filter(looked_at).for_each(|row| *all.entry(row.key).or_default() += 1);
        };
        side.read_all(source.open_snapshot().await?.as_mut(), Values::OfNone, &mut take).await?;
        for (key, count) in &mut all {
            *count = count.saturating_sub(under(key));
        }
        Ok(all)
    }

    /// Rows of a table without a key are told apart by their content alone. Returns those of which one side has more, by how many.
    fn count_copies(
        &mut self,
        there: &Found,
        here: &Found,
        strangers: &HashSet<Key>,
        outside: &HashMap<Key, u64>,
    ) -> Vec<Copies> {
        let mut differing = Vec::new();
        for (key, (_, checksum, wanted)) in &there.rows {
            self.compared.source.add_copies(checksum, *wanted);
            let copies = wanted.saturating_sub(here.copies(key));
            if copies > 0 {
                self.report.missing += copies;
                differing.push(Copies { kind: DifferenceKind::Missing, key: key.clone(), checksum: *checksum, copies });
            }
        }
        for (key, (parent, checksum, found)) in &here.rows {
            // What has left the filter may stay in the target, as often as the source still has it.
            let surplus = found.saturating_sub(there.copies(key));
            let left = if strangers.contains(parent) { surplus } else { outside.get(key).copied().unwrap_or(0).min(surplus) };
            self.report.target_left_out += left;
            self.compared.target.add_copies(checksum, found - left);
            let copies = surplus - left;
            if copies > 0 {
                self.report.extra += copies;
                differing.push(Copies { kind: DifferenceKind::Extra, key: key.clone(), checksum: *checksum, copies });
            }
        }
        differing
    }

    /// Lists rows without a key with what they hold, which is read once more: whole rows are not kept while they are counted.
    async fn name_copies(&mut self, source: &dyn Source, target: &dyn Source, mut differing: Vec<Copies>) -> Result<()> {
        differing.sort_by(|a, b| (a.kind, a.key.as_bytes()).cmp(&(b.kind, b.key.as_bytes())));
        differing.truncate(LISTED.saturating_sub(self.report.differences.len()));
        if differing.is_empty() {
            return Ok(());
        }
        let mut found = HashMap::new();
        for (kind, database) in [(DifferenceKind::Missing, source), (DifferenceKind::Extra, target)] {
            let wanted: HashSet<Key> = differing.iter().filter(|row| row.kind == kind).map(|row| row.key.clone()).collect();
            if wanted.is_empty() {
                continue;
            }
            let mut take = |page: super::side::SideRows| {
                let rows = page.rows.into_iter().filter(|row| wanted.contains(&row.key));
                found.extend(rows.map(|row| ((kind, row.key), row.values)));
            };
            let side = if kind == DifferenceKind::Missing { &mut *self.there } else { &mut *self.here };
            side.read_all(database.open_snapshot().await?.as_mut(), Values::Of(&wanted), &mut take).await?;
        }
        for Copies { kind, key, checksum, copies } in differing {
            let values = found.remove(&(kind, key)).unwrap_or_default();
            let cells = self.there.entity.columns.iter().zip(&values).filter(|(_, value)| !value.is_null());
            let cells = cells.map(|(column, value)| match kind {
                DifferenceKind::Missing => Cell::new(&column.target, &Value::Null, value),
                DifferenceKind::Extra | DifferenceKind::Different => Cell::new(&column.target, value, &Value::Null),
            });
            let (columns, checksum) = (cells.collect(), Some(to_hex(&checksum)));
            self.report.differences.push(Difference { kind, key: Vec::new(), columns, checksum, copies });
        }
        Ok(())
    }
}

/// A row without a key of which one side has more.
struct Copies {
    kind: DifferenceKind,
    key: Key,
    checksum: Checksum,
    copies: u64,
}
