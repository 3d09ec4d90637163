//! Plays a history on real databases, and compares what they hold with the model after each sync.

use crate::case::{Allowed, Case, Content, Edit, Extra, Fault, NUMBERS, Round, Shape, TargetEdit};
use crate::faults::Fate;
use crate::keys::{Keys, Kind};
use crate::model::Model;
use crate::run::{Checked, Runs, compare};
use crate::side::Side;
use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, DriftPolicy, Entity, ExecutionState, Job, QuarantineLimit, RunOptions,
    Strategy,
};
use migrate_core::pipeline::RunReport;
use migrate_core::state::Counters;
use std::sync::Arc;

/// One table on both sides, and the job between them.
struct History<'s> {
    source: &'s mut Side,
    target: &'s mut Side,
    table: &'s str,
    runs: Runs,
    model: Model,
    /// Whether plans foresee all that becomes of the rows.
    foreseen: bool,
}

/// Plays a history from its first to its last sync.
pub(crate) async fn play(case: &Case, keys: Keys, shape: Shape, source: &mut Side, target: &mut Side, table: &str) -> Checked {
    let mut deletes = Deletes::new(shape.deletes).with_max(DeleteGuard::Percent(100.0));
    if shape.deletes == DeleteMode::Soft {
        deletes = deletes.with_column("gone");
    }
    let mut job = Job::new(table, "source", "target")
        .with_mode(shape.mode)
        .with_deletes(deletes)
        .with_on_conflict(shape.policy)
        .with_drift(DriftPolicy::Evolve)
        .with_strategy(if shape.full { Strategy::Full } else { Strategy::Auto })
        .with_entity(Entity::new(table));
    job.page_bytes = Some(shape.page_bytes);
    let options = RunOptions::new()
        .with_batch_rows(shape.batch_rows)
        .with_parallel(shape.parts)
        .with_part_bytes(1)
        .with_max_quarantined(QuarantineLimit::Percent(100.0));
    let model = Model::new(shape, keys);
    // A plan takes a key that is spelled anew for another one, also where the target does not.
    let foreseen = matches!(shape.extra, Extra::Nothing | Extra::Narrow)
        && (matches!(shape.kind, Kind::Integer | Kind::Text(_)) || !keys.target_folds());
    let mut history = History { source, target, table, runs: Runs { job, options, recorder: Arc::default() }, model, foreseen };
    history.set_up(case, &shape).await?;
    for (number, round) in case.rounds.iter().enumerate() {
        let edits = history.edit(&round.edits, &|_| true).await;
        edits.and(history.edit_target(round).await).map_err(|error| format!("round {number}: {error}"))?;
        history.sync(round.planned, round.fault.as_ref()).await.map_err(|error| format!("round {number}: {error}"))?;
    }
    Ok(())
}

impl History<'_> {
    async fn set_up(&mut self, case: &Case, shape: &Shape) -> Checked {
        let mut statements = vec![self.model.create_source(self.table)];
        for (class, content) in &case.first {
            statements.extend(self.model.insert(self.table, *class, *content, &|_| true));
        }
        self.source.run(&statements).await?;
        if shape.created {
            // A file without tables.
            return self.target.run(&["SELECT 1".to_owned()]).await;
        }
        let mut statements = vec![self.model.create_target(self.table, self.target.is_postgres())];
        for (class, content) in &case.others {
            statements.extend(self.model.edit_target(self.table, TargetEdit::Insert(*class, *content)));
        }
        self.target.run(&statements).await
    }

    async fn edit(&mut self, edits: &[Edit], allowed: Allowed<'_>) -> Checked {
        let mut statements = Vec::new();
        for edit in edits {
            statements.extend(self.model.edit(self.table, *edit, allowed));
        }
        self.source.run(&statements).await?;
        if edits.iter().any(|edit| matches!(edit, Edit::Rewrite)) {
            self.source.rewrite(self.table).await?;
        }
        Ok(())
    }

    async fn edit_target(&mut self, round: &Round) -> Checked {
        if self.model.printed().is_empty() {
            return Ok(());
        }
        let mut statements = Vec::new();
        for edit in &round.at_target {
            statements.extend(self.model.edit_target(self.table, *edit));
        }
        self.target.run(&statements).await
    }

    /// Syncs, through a fault or without, and compares; then syncs once more, which must write nothing.
    async fn sync(&mut self, planned: bool, fault: Option<&Fault>) -> Checked {
        let planned = if planned && self.foreseen && fault.is_none() {
            let preview = self.runs.pipeline(self.source, self.target.sink())?.preview(&CancelToken::new()).await;
            Some(preview.map_err(|error| format!("the plan: {error}"))?.changes[0].counters)
        } else {
            None
        };
        let settled = self.model.settled_classes();
        let first = match fault {
            Some(fault) => self.runs.struck(self.source, self.target, Fate::new(fault.action, fault.nth)).await?,
            None => Some(self.runs.finished(self.source, self.target).await?),
        };
        let broken = first.is_none();
        let report = match (first, fault) {
            (Some(report), _) => report,
            (None, Some(fault)) if !fault.forgotten => {
                self.edit(&between(fault), &|class| settled.contains(&class)).await?;
                self.runs.finished(self.source, self.target).await?
            }
            (None, _) => {
                self.runs.recorder = Arc::default();
                self.runs.finished(self.source, self.target).await?
            }
        };
        let expected = self.model.sync();
        self.compare("after the sync").await?;
        let counters = balanced(&report, expected.read)?;
        if !broken && wanted(&counters) != wanted(&expected) {
            return Err(format!("the run counts {counters:?}\nnot {expected:?}"));
        }
        if let Some(planned) = planned.filter(|planned| wanted(planned) != wanted(&counters)) {
            return Err(format!("the plan counts {planned:?}\nthe run {counters:?}"));
        }
        if report.status == ExecutionState::Failed {
            // Every row was refused: the next run would go on with this one's counts.
            self.runs.recorder = Arc::default();
        }
        let before = self.versions().await?;
        let again = balanced(&self.runs.finished(self.source, self.target).await?, expected.read)?;
        if again.inserted + again.updated + again.deleted > 0 {
            return Err(format!("the second run writes: {again:?}"));
        }
        self.model.sync();
        self.compare("after the second run").await?;
        if before != self.versions().await? {
            return Err("the second run writes rows anew".to_owned());
        }
        Ok(())
    }

    async fn compare(&mut self, when: &str) -> Checked {
        let mut found = self.target.rows(&self.model.query(self.table)).await?;
        found.sort();
        compare(when, &self.model.printed(), &found)
    }

    /// Returns what tells whether rows were written anew, where the engine can tell.
    async fn versions(&mut self) -> Checked<Vec<Vec<Option<String>>>> {
        if !self.target.is_postgres() {
            return Ok(Vec::new());
        }
        self.target.rows(&format!("SELECT ctid::text, xmin::text FROM {} ORDER BY ctid", self.table)).await
    }
}

/// What happens at the source while no run is under way, of which no run knows whether it was before or after.
fn between(fault: &Fault) -> Vec<Edit> {
    let fitting = |mut content: Content| {
        content.number %= NUMBERS.len() - 1;
        content
    };
    let kept = fault.between.iter().filter_map(|edit| match *edit {
        Edit::Insert(class, content) => Some(Edit::Insert(class, fitting(content))),
        Edit::Set(row, content) => Some(Edit::Set(row, fitting(content))),
        Edit::AddColumn(_) | Edit::DropColumn(_) | Edit::RenameColumn(_) => None,
        other => Some(other),
    });
    kept.collect()
}

/// P1: every row that was read has one outcome.
fn balanced(report: &RunReport, rows: u64) -> Checked<Counters> {
    let counters = report.entities[0].counters;
    if counters.read != rows || counters.settled() != rows {
        return Err(format!("{rows} rows are at the source: {counters:?}"));
    }
    Ok(counters)
}

fn wanted(counters: &Counters) -> Counters {
    Counters { bytes: 0, ..*counters }
}
