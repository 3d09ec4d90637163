//! Plays a graph on real databases, and compares what they hold with the model.

use super::case::{Case, Cut, Ids, Target};
use super::model::{Content, Expected, Model, STAND_IN};
use super::sql::{Role, STANDS_IN, Sql};
use crate::faults::Fate;
use crate::run::{Checked, Runs, compare};
use crate::side::Side;
use migrate_core::filter::Parameter;
use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, ExecutionState, Job, OrphanPolicy, QuarantineLimit, Reference,
    RunOptions,
};
use migrate_core::pipeline::RunReport;
use migrate_core::plan::Binding;
use migrate_core::state::Counters;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Tables on both sides, and the job between them.
struct Play<'p> {
    source: &'p mut Side,
    target: &'p mut Side,
    sql: Sql<'p>,
    runs: Runs,
    model: Model<'p>,
    /// What the source holds.
    held: Content,
    own: Vec<Vec<Vec<Option<String>>>>,
}

/// Plays a graph from its first to its last sync.
pub(crate) async fn play(case: &Case, source: &mut Side, target: &mut Side, prefix: &str) -> Checked {
    let sql = Sql { case, prefix };
    let runs = Runs { job: job(case, &sql), options: options(case), recorder: Arc::default() };
    let mut play = Play { source, target, sql, runs, model: Model::new(case), held: Content::new(), own: Vec::new() };
    play.set_up().await?;
    play.model.late = play.late().await?;
    if case.fails && play.model.has_orphans() {
        play.is_refused().await?;
        play.heal().await?;
    }
    play.cut(&case.first, 0).await?;
    play.sync().await.map_err(|error| format!("the first sync: {error}"))?;
    play.cut(&case.second, 1).await?;
    if case.fails && play.model.has_orphans() {
        play.is_refused().await?;
        play.heal().await?;
    }
    play.sync().await.map_err(|error| format!("the second sync: {error}"))?;
    play.heal().await?;
    play.sync().await.map_err(|error| format!("once every parent is there: {error}"))?;
    let Expected { quarantined, pending, orphans, .. } = play.model.expected();
    if [quarantined, pending, orphans] == [0; 3] { Ok(()) } else { Err("the model is not healed".to_owned()) }
}

fn job(case: &Case, sql: &Sql<'_>) -> Job {
    let mode = if case.deletes { DeleteMode::Hard } else { DeleteMode::Ignore };
    let mut job = Job::new(sql.prefix, "source", "target")
        .with_mode(case.mode)
        .with_deletes(Deletes::new(mode).with_max(DeleteGuard::Percent(100.0)));
    job.orphans = (!case.checked && !case.fails).then_some(OrphanPolicy::Allow);
    job.page_bytes = Some(case.page_bytes);
    for (table, described) in case.tables.iter().enumerate() {
        let mut entity = Entity::new(sql.name(table));
        entity = match described.ids {
            Ids::Kept => entity,
            Ids::ByMap => entity.with_generated("id"),
            Ids::ByCode => entity.with_key(["code"]).with_generated("id"),
        };
        for (number, reference) in case.of(table) {
            // Tables that the job creates from a source without constraints have those references that it says.
            let unsaid = case.fails && case.target == Target::Created;
            if reference.policy.is_none() && reference.bind.is_none() && !unsaid {
                continue;
            }
            let key = case.key(reference.parent).iter().copied();
            let mut told = Reference::new(case.columns(number), sql.name(reference.parent)).with_key(key);
            (told.orphans, told.bind) = (reference.policy, reference.bind);
            entity = entity.with_reference(told);
        }
        if case.references.iter().any(|r| r.parent == table && r.policy == Some(OrphanPolicy::Placeholder)) {
            for (column, id) in case.key(table).iter().zip([STAND_IN, STAND_IN * 10]) {
                entity = entity.with_placeholder(*column, Parameter::Int(id));
            }
            entity = entity.with_placeholder("code", Parameter::Text(STANDS_IN.to_owned()));
        }
        job = job.with_entity(entity);
    }
    job
}

fn options(case: &Case) -> RunOptions {
    RunOptions::new()
        .with_batch_rows(case.batch_rows)
        .with_parallel(3)
        .with_part_bytes(1)
        .with_max_quarantined(QuarantineLimit::Rows(u64::MAX))
}

impl Play<'_> {
    fn case(&self) -> &Case {
        self.sql.case
    }

    async fn set_up(&mut self) -> Checked {
        let (checked, postgres) = (self.case().checked, self.source.is_postgres());
        self.source.run(&self.sql.create(Role::Source, postgres, checked)).await?;
        self.write_source().await?;
        if checked {
            self.source.run(&self.sql.constraints(Role::Source, postgres)).await?;
        }
        if self.case().target == Target::Created {
            // A file without tables.
            return self.target.run(&["SELECT 1".to_owned()]).await;
        }
        let postgres = self.target.is_postgres();
        let mut statements = self.sql.create(Role::Target, postgres, true);
        statements.extend(self.sql.others(postgres));
        Self::load(self.target, statements).await?;
        self.target.run(&self.sql.constraints(Role::Target, postgres)).await?;
        self.own = self.own_rows().await?;
        Ok(())
    }

    /// Runs statements whose rows may come before their parents.
    async fn load(side: &mut Side, mut statements: Vec<String>) -> Checked {
        if !side.is_postgres() {
            statements.insert(0, "PRAGMA defer_foreign_keys = ON".to_owned());
        }
        side.run(&statements).await
    }

    /// Makes the source hold what the model says.
    async fn write_source(&mut self) -> Checked {
        Self::load(self.source, self.sql.change(&self.held, &self.model.content)).await?;
        self.held.clone_from(&self.model.content);
        Ok(())
    }

    async fn own_rows(&mut self) -> Checked<Vec<Vec<Vec<Option<String>>>>> {
        let mut rows = Vec::new();
        for table in 0..self.case().tables.len() {
            rows.push(self.target.rows(&self.sql.own_rows(table)).await?);
        }
        Ok(rows)
    }

    /// The references that the plan binds late.
    async fn late(&mut self) -> Checked<BTreeSet<usize>> {
        let plan = self.runs.pipeline(self.source, self.target.sink())?.plan().await;
        let plan = plan.map_err(|error| format!("the plan: {error:?}"))?;
        let mut late = BTreeSet::new();
        for (number, reference) in self.case().references.iter().enumerate() {
            let (name, columns) = (self.sql.name(reference.child), self.case().columns(number));
            let entity = plan.entity(&name).ok_or("an entity is not planned")?;
            late.extend(entity.references.iter().any(|r| r.columns == columns && r.binding == Binding::Late).then_some(number));
        }
        Ok(late)
    }

    /// Runs that end somewhere; the source changes before the last of them, or before the run that follows.
    async fn cut(&mut self, cuts: &[Cut], round: usize) -> Checked {
        for (number, cut) in cuts.iter().enumerate() {
            if number + 1 == cuts.len() && round > 0 {
                self.model.edit();
                self.write_source().await?;
            }
            if self.case().fails && self.model.has_orphans() {
                return Ok(());
            }
            self.runs.struck(self.source, self.target, Fate::new(cut.action, cut.nth)).await?;
        }
        if round > 0 {
            self.model.edit();
        }
        self.write_source().await
    }

    async fn heal(&mut self) -> Checked {
        self.model.heal();
        self.write_source().await
    }

    /// Asserts that a run is refused and writes nothing.
    async fn is_refused(&mut self) -> Checked {
        let report = self.runs.pipeline(self.source, self.target.sink())?.run(&CancelToken::new()).await;
        let error = match report {
            Ok(report) => report.error.ok_or("a run with orphans is not refused")?,
            Err(error) => error.to_string(),
        };
        if error.contains("to a parent that is not there") { Ok(()) } else { Err(format!("a run with orphans fails: {error}")) }
    }

    /// Syncs and compares; then syncs once more, which must write nothing.
    async fn sync(&mut self) -> Checked {
        let expected = self.model.expected();
        let counters = self.finished().await?;
        let compared = self.compare("after the sync", &expected).await;
        compared.map_err(|error| format!("{error}\n  the run counts {counters:?}"))?;
        let wanted = [expected.quarantined, expected.pending, expected.orphans];
        if wanted != [counters.quarantined, counters.pending, counters.orphans] {
            return Err(format!("{wanted:?} are quarantined, wait and are orphans, but the run counts {counters:?}"));
        }
        let again = self.finished().await?;
        if again.inserted + again.updated + again.deleted + again.conflicts > 0 {
            return Err(format!("the second run writes: {again:?}"));
        }
        if wanted != [again.quarantined, again.pending, again.orphans] {
            return Err(format!("{wanted:?} are quarantined, wait and are orphans, but the second run counts {again:?}"));
        }
        self.compare("after the second run", &expected).await
    }

    async fn finished(&mut self) -> Checked<Counters> {
        let report: RunReport = self.runs.finished(self.source, self.target).await?;
        let mut sum = Counters::default();
        for (table, rows) in self.model.content.iter().enumerate() {
            let name = self.sql.name(table);
            let entity = report.entities.iter().find(|entity| entity.name == name).ok_or("an entity is not reported")?;
            let counters = entity.counters;
            if counters.read != rows.len() as u64 || counters.settled() != counters.read {
                return Err(format!("{} rows of {name} are at the source: {counters:?}", rows.len()));
            }
            sum.add(&counters);
        }
        if report.status == ExecutionState::Failed {
            // Every row was refused: the next run would go on with this one's counts.
            self.runs.recorder = Arc::default();
        }
        Ok(sum)
    }

    async fn compare(&mut self, when: &str, expected: &Expected) -> Checked {
        let mut different = Vec::new();
        for table in 0..self.case().tables.len() {
            let mut found = self.target.rows(&self.sql.query(table)).await?;
            found.sort();
            different.extend(compare(&format!("{when}, in table {table},"), &self.sql.printed(table, expected), &found).err());
            let found = self.target.rows(&self.sql.stand_in(table)).await?;
            let stands_in: Vec<_> =
                expected.stand_ins.get(&table).map(|_| vec![Some(STANDS_IN.to_owned())]).into_iter().collect();
            different.extend(compare(&format!("{when}, by who stands in in table {table},"), &stands_in, &found).err());
            if let Some(query) = self.sql.not_given(table) {
                let found = self.target.rows(&query).await?;
                compare(&format!("{when}, by its ids in table {table},"), &[], &found)?;
            }
        }
        if !different.is_empty() {
            return Err(different.join("\n"));
        }
        let own = if self.case().target == Target::Created { Vec::new() } else { self.own_rows().await? };
        if self.own != own {
            return Err(format!("{when} rows of others are not what they were"));
        }
        let postgres = self.target.is_postgres();
        compare(&format!("{when}, by its constraints,"), &[], &self.target.rows(&self.sql.invalid(postgres)).await?)?;
        let live = self.case().checked || self.case().target != Target::Created;
        let count = if live { self.case().references.len() } else { 0 };
        let found = self.target.rows(&self.sql.count_references(postgres)).await?;
        compare(&format!("{when}, by the number of its references,"), &[vec![Some(count.to_string())]], &found)
    }
}
