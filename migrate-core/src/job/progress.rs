//! The one computation of progress, rate and time left: bars, JSON and the record all show it.

use super::event::{Event, Observer};
use super::execution::EntityResult;
use super::state::ExecutionState;
use super::time::{Clock, SystemClock, Timestamp};
use crate::state::Counters;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long the rate remembers, in seconds: after this much time two thirds of it is new.
const MEMORY: f64 = 10.0;
/// The shortest time between two samples of the rate, in seconds.
const SAMPLE: f64 = 0.2;

/// How far an execution is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Rows that have a final outcome.
    pub rows: u64,
    /// Rows there are to move; `None` while that is unknown for some entity.
    pub total_rows: Option<u64>,
    /// Bytes read.
    pub bytes: u64,
    /// From 0 to 100, and 100 only when every entity is done.
    pub percent: Option<f64>,
    /// Rows per second lately.
    pub rows_per_second: Option<f64>,
    /// Seconds since it began.
    pub elapsed_seconds: f64,
    /// Seconds that the rest takes at this rate.
    pub remaining_seconds: Option<f64>,
    /// What is being done beside copying rows, such as building an index.
    pub step: Option<String>,
    /// Each entity, in load order.
    pub entities: Vec<EntityResult>,
}

/// Computes [`Progress`] from what it observes.
#[derive(Debug)]
pub struct ProgressTracker {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    began: Timestamp,
    step: Option<String>,
    entities: Vec<Tracked>,
    rate: Rate,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Tracked {
    result: EntityResult,
    started: Option<Timestamp>,
    parts: BTreeMap<u32, Counters>,
    /// Rows that were settled before this attempt: progress, but not speed.
    before: u64,
}

impl Default for ProgressTracker {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl ProgressTracker {
    /// Creates a tracker that begins now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let began = clock.now();
        let rate = Rate { at: began, rows: 0, value: 0.0, weight: 0.0 };
        let inner = Inner { began, step: None, entities: Vec::new(), rate, notes: Vec::new() };
        ProgressTracker { clock, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Only numbers are kept here: after a panic elsewhere they are still worth showing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how far the execution is now.
    pub fn progress(&self) -> Progress {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.sample(now);
        inner.progress(now)
    }

    /// Returns what the plan had to say.
    pub fn notes(&self) -> Vec<String> {
        self.lock().notes.clone()
    }
}

impl Observer for ProgressTracker {
    fn on_event(&self, event: &Event) {
        let now = self.clock.now();
        let mut inner = self.lock();
        match event {
            Event::PlanReady { entities, notes } => {
                inner.notes.clone_from(notes);
                inner.entities.clear();
                for planned in entities {
                    let result = EntityResult {
                        name: planned.name.clone(),
                        source: planned.source.clone(),
                        target: planned.target.clone(),
                        stage: planned.stage.clone(),
                        total_rows: planned.rows,
                        ..EntityResult::default()
                    };
                    inner.entities.push(Tracked { result, started: None, parts: BTreeMap::new(), before: 0 });
                }
            }
            Event::EntityStarted { entity, rows, before } => {
                inner.step = None;
                if inner.rate.weight == 0.0 || inner.rate.value == 0.0 {
                    // Planning and opening are not copying slowly.
                    inner.rate.restart(now);
                }
                let tracked = inner.entity(entity);
                tracked.started = tracked.started.or(Some(now));
                tracked.result.state = ExecutionState::Running;
                tracked.result.total_rows = rows.or(tracked.result.total_rows);
                tracked.before = *before;
                // Rows of an earlier attempt appear with the first commit: the rate must not jump for them.
                inner.rate.rows = inner.rate.rows.saturating_add(*before);
            }
            Event::PageCommitted { entity, partition, counters } => {
                let tracked = inner.entity(entity);
                tracked.parts.insert(*partition, *counters);
                let mut sum = Counters::default();
                tracked.parts.values().for_each(|part| sum.add(part));
                tracked.result.counters = sum;
                inner.sample(now);
            }
            Event::EntityFinished { entity, counters, state, error } => {
                let tracked = inner.entity(entity);
                tracked.result.counters = *counters;
                tracked.result.state = *state;
                tracked.result.error.clone_from(error);
                tracked.result.seconds = tracked.started.map_or(0.0, |started| now.since(started).as_secs_f64());
                inner.sample(now);
            }
            Event::Step { name, .. } => inner.step = Some(name.clone()),
            Event::Retry { .. } | Event::Log(_) => {}
        }
    }
}

impl Inner {
    /// The entity of a name; one that no plan named is added.
    fn entity(&mut self, name: &str) -> &mut Tracked {
        let place = self.entities.iter().position(|t| t.result.name == name).unwrap_or_else(|| {
            let result = EntityResult { name: name.to_owned(), ..EntityResult::default() };
            self.entities.push(Tracked { result, started: None, parts: BTreeMap::new(), before: 0 });
            self.entities.len() - 1
        });
        &mut self.entities[place]
    }

    fn rows(&self) -> u64 {
        self.entities.iter().map(Tracked::rows).sum()
    }

    fn sample(&mut self, now: Timestamp) {
        let rows = self.rows();
        self.rate.sample(rows, now);
    }

    #[expect(clippy::cast_precision_loss, reason = "a share and a time left need no exact count")]
    fn progress(&self, now: Timestamp) -> Progress {
        let rows = self.rows();
        let totals: Option<Vec<u64>> = self.entities.iter().map(Tracked::total).collect();
        let total_rows = totals.filter(|t| !t.is_empty()).map(|t| t.iter().sum::<u64>());
        let done = !self.entities.is_empty() && self.entities.iter().all(|t| t.result.state.is_finished());
        let percent = match total_rows {
            Some(_) if done => Some(100.0),
            Some(0) => Some(0.0),
            Some(total) => Some((rows as f64 * 100.0 / total as f64).min(99.9)),
            None => None,
        };
        let rows_per_second = self.rate.per_second();
        let left = total_rows.map(|total| total.saturating_sub(rows));
        let remaining_seconds = match (left, rows_per_second) {
            _ if done => Some(0.0),
            (Some(left), Some(rate)) if rate > 0.0 => Some(left as f64 / rate),
            _ => None,
        };
        let mut entities: Vec<EntityResult> = self.entities.iter().map(|t| t.result.clone()).collect();
        for (entity, tracked) in entities.iter_mut().zip(&self.entities) {
            if let (ExecutionState::Running, Some(started)) = (entity.state, tracked.started) {
                entity.seconds = now.since(started).as_secs_f64();
            }
        }
        Progress {
            rows,
            total_rows,
            bytes: self.entities.iter().map(|t| t.result.counters.bytes).sum(),
            percent,
            rows_per_second,
            elapsed_seconds: now.since(self.began).as_secs_f64(),
            remaining_seconds,
            step: self.step.clone(),
            entities,
        }
    }
}

impl Tracked {
    fn rows(&self) -> u64 {
        match self.parts.is_empty() && !self.result.state.is_finished() {
            true => self.before,
            false => self.result.counters.settled(),
        }
    }

    /// The rows there are to move: what was really there once the entity is done, an estimate never below what is done.
    fn total(&self) -> Option<u64> {
        match self.result.state.is_finished() {
            true => Some(self.result.counters.settled()),
            false => self.result.total_rows.map(|total| total.max(self.rows())),
        }
    }
}

/// An exponentially weighted mean of rows per second.
#[derive(Debug)]
struct Rate {
    at: Timestamp,
    rows: u64,
    value: f64,
    /// How much of the mean is made of samples rather than of the zero it began with.
    weight: f64,
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no exact count")]
    fn sample(&mut self, rows: u64, now: Timestamp) {
        let seconds = now.since(self.at).as_secs_f64();
        if seconds < SAMPLE {
            return;
        }
        let latest = rows.saturating_sub(self.rows) as f64 / seconds;
        let share = 1.0 - (-seconds / MEMORY).exp();
        self.value += share * (latest - self.value);
        self.weight += share * (1.0 - self.weight);
        (self.at, self.rows) = (now, rows);
    }

    fn restart(&mut self, now: Timestamp) {
        (self.at, self.value, self.weight) = (now, 0.0, 0.0);
    }

    fn per_second(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.value / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::PlannedEntity;
    use super::super::time::ManualClock;
    use super::*;
    use std::time::Duration;

    fn tracker(rows: &[Option<u64>]) -> (Arc<ManualClock>, ProgressTracker) {
        let clock = Arc::new(ManualClock::default());
        let tracker = ProgressTracker::new(clock.clone());
        let planned = |(i, rows): (usize, &Option<u64>)| PlannedEntity {
            name: format!("e{i}"),
            source: "s".into(),
            target: "t".into(),
            stage: None,
            rows: *rows,
        };
        let entities = rows.iter().enumerate().map(planned).collect();
        tracker.on_event(&Event::PlanReady { entities, notes: Vec::new() });
        (clock, tracker)
    }

    fn started(entity: &str, before: u64) -> Event {
        Event::EntityStarted { entity: entity.into(), rows: None, before }
    }

    fn counters(inserted: u64) -> Counters {
        Counters { inserted, ..Counters::default() }
    }

    fn committed(entity: &str, partition: u32, inserted: u64) -> Event {
        Event::PageCommitted { entity: entity.into(), partition, counters: counters(inserted) }
    }

    fn finished(entity: &str, inserted: u64) -> Event {
        let state = ExecutionState::Succeeded;
        Event::EntityFinished { entity: entity.into(), counters: counters(inserted), state, error: None }
    }

    #[test]
    fn a_steady_copy_shows_its_rate_and_the_time_left() {
        let (clock, tracker) = tracker(&[Some(1_000)]);
        tracker.on_event(&started("e0", 0));
        for second in 1..=4 {
            clock.advance(Duration::from_secs(1));
            tracker.on_event(&committed("e0", 0, second * 100));
        }
        let progress = tracker.progress();
        assert_eq!((progress.rows, progress.total_rows), (400, Some(1_000)));
        assert!((progress.rows_per_second.expect("it was sampled") - 100.0).abs() < 0.001, "{progress:?}");
        assert!((progress.remaining_seconds.expect("the rate is known") - 6.0).abs() < 0.001, "{progress:?}");
        assert!((progress.percent.expect("the total is known") - 40.0).abs() < 0.001, "{progress:?}");
    }

    #[test]
    fn a_stall_lowers_the_rate_and_new_speed_raises_it() {
        let (clock, tracker) = tracker(&[Some(100_000)]);
        tracker.on_event(&started("e0", 0));
        clock.advance(Duration::from_secs(10));
        tracker.on_event(&committed("e0", 0, 1_000));
        clock.advance(Duration::from_secs(10));
        let stalled = tracker.progress().rows_per_second.expect("it was sampled");
        assert!(stalled < 50.0, "{stalled}");
        clock.advance(Duration::from_secs(10));
        tracker.on_event(&committed("e0", 0, 11_000));
        let fast = tracker.progress().rows_per_second.expect("it was sampled");
        assert!(fast > 500.0, "{fast}");
    }

    #[test]
    fn the_time_before_the_first_entity_is_no_slow_copy() {
        let (clock, tracker) = tracker(&[Some(1_000)]);
        for _ in 0..30 {
            clock.advance(Duration::from_secs(1));
            tracker.progress();
        }
        tracker.on_event(&started("e0", 0));
        clock.advance(Duration::from_secs(1));
        tracker.on_event(&committed("e0", 0, 100));
        let progress = tracker.progress();
        assert!((progress.rows_per_second.expect("it was sampled") - 100.0).abs() < 0.001, "{progress:?}");
    }

    #[test]
    fn parts_of_an_entity_add_up_and_a_repeated_commit_counts_once() {
        let (clock, tracker) = tracker(&[Some(100)]);
        tracker.on_event(&started("e0", 0));
        clock.advance(Duration::from_secs(1));
        for event in [committed("e0", 0, 10), committed("e0", 1, 20), committed("e0", 0, 10)] {
            tracker.on_event(&event);
        }
        assert_eq!(tracker.progress().rows, 30);
    }

    #[test]
    fn rows_of_an_earlier_attempt_are_progress_but_not_speed() {
        let (clock, tracker) = tracker(&[Some(1_000)]);
        tracker.on_event(&started("e0", 900));
        clock.advance(Duration::from_secs(1));
        tracker.on_event(&committed("e0", 0, 910));
        let progress = tracker.progress();
        assert_eq!(progress.rows, 910);
        assert!((progress.rows_per_second.expect("it was sampled") - 10.0).abs() < 0.001, "{progress:?}");
    }

    #[test]
    fn an_unknown_total_gives_no_percent_and_no_time_left() {
        let (clock, tracker) = tracker(&[Some(10), None]);
        tracker.on_event(&started("e0", 0));
        clock.advance(Duration::from_secs(1));
        tracker.on_event(&committed("e0", 0, 10));
        let progress = tracker.progress();
        assert_eq!((progress.percent, progress.remaining_seconds, progress.total_rows), (None, None, None));
        assert!(progress.rows_per_second.is_some());
    }

    #[test]
    fn a_hundred_percent_is_shown_only_when_all_is_done() {
        let (clock, tracker) = tracker(&[Some(10), Some(10)]);
        tracker.on_event(&started("e0", 0));
        clock.advance(Duration::from_secs(1));
        // The plan's number was an estimate: there are more rows than it said.
        tracker.on_event(&committed("e0", 0, 50));
        assert!(tracker.progress().percent.expect("the total is known") < 100.0);
        tracker.on_event(&finished("e0", 50));
        tracker.on_event(&finished("e1", 0));
        let progress = tracker.progress();
        assert_eq!((progress.percent, progress.remaining_seconds, progress.total_rows), (Some(100.0), Some(0.0), Some(50)));
        assert!((progress.entities[0].seconds - 1.0).abs() < 0.001);
    }
}
