//! A record that lives as long as its process: for embedding and for tests.

use super::execution::{Execution, Finish, LogLine};
use super::owner::Owner;
use super::recorder::{ExecutionPage, ExecutionQuery, LogPage, LogQuery, Recorder, Standing, Update};
use super::time::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Counters;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps the record in memory.
#[derive(Debug, Default)]
pub struct MemoryRecorder(Mutex<BTreeMap<String, (Execution, Vec<LogLine>)>>);

impl MemoryRecorder {
    /// Creates an empty record.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Execution, Vec<LogLine>)>> {
        // Nothing here panics halfway through a change, so a poisoned lock still guards a whole record.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such execution").with("execution", id)
}

#[async_trait]
impl Recorder for MemoryRecorder {
    async fn create_execution(&self, execution: &Execution) -> Result<()> {
        let mut all = self.lock();
        if all.contains_key(&execution.id) {
            return Err(
                Error::new(ErrorKind::Refused, "an execution of this id is recorded already").with("execution", &execution.id)
            );
        }
        all.insert(execution.id.clone(), (execution.clone(), Vec::new()));
        Ok(())
    }

    async fn start_attempt(&self, id: &str, owner: &Owner, at: Timestamp) -> Result<u32> {
        let mut all = self.lock();
        let (execution, _) = all.get_mut(id).ok_or_else(|| unknown(id))?;
        execution.begin_attempt(owner, at).map_err(|error| error.with("execution", id))
    }

    async fn record(&self, id: &str, attempt: u32, update: &Update) -> Result<Standing> {
        let mut all = self.lock();
        let (execution, logs) = all.get_mut(id).ok_or_else(|| unknown(id))?;
        logs.extend(update.logs.iter().cloned());
        if execution.attempt != attempt || execution.state.is_finished() {
            return Ok(Standing::Replaced);
        }
        execution.heartbeat_at = Some(update.at);
        execution.progress_percent = update.progress_percent.unwrap_or(execution.progress_percent);
        execution.total_rows = update.total_rows.or(execution.total_rows);
        if let Some(notes) = &update.notes {
            execution.notes.clone_from(notes);
        }
        for entity in &update.entities {
            match execution.entities.iter_mut().find(|e| e.name == entity.name) {
                Some(known) => known.clone_from(entity),
                None => execution.entities.push(entity.clone()),
            }
        }
        let mut totals = Counters::default();
        execution.entities.iter().for_each(|e| totals.add(&e.counters));
        execution.totals = totals;
        Ok(Standing::Current)
    }

    async fn finish_execution(&self, id: &str, attempt: u32, end: &Finish) -> Result<Standing> {
        let mut all = self.lock();
        let (execution, _) = all.get_mut(id).ok_or_else(|| unknown(id))?;
        execution.finish_attempt(attempt, end).map_err(|error| error.with("execution", id))?;
        Ok(if execution.attempt == attempt { Standing::Current } else { Standing::Replaced })
    }

    async fn unfinished(&self, job: &str, source: &str, target: &str) -> Result<Option<Execution>> {
        let all = self.lock();
        let newest = all
            .values()
            .map(|(execution, _)| execution)
            .filter(|e| e.job == job && e.source == source && e.target == target)
            .max_by_key(|e| (e.created_at, &e.id));
        Ok(newest.filter(|e| e.state.is_resumed()).cloned())
    }

    async fn execution(&self, id: &str) -> Result<Option<Execution>> {
        Ok(self.lock().get(id).map(|(execution, _)| execution.clone()))
    }

    async fn executions(&self, query: &ExecutionQuery) -> Result<ExecutionPage> {
        let all = self.lock();
        let after = match &query.after {
            Some(id) => Some(all.get(id).map(|(e, _)| (e.created_at, &e.id)).ok_or_else(|| unknown(id))?),
            None => None,
        };
        let environment = query.environment.as_ref();
        let mut found: Vec<_> = all
            .values()
            .map(|(execution, _)| execution)
            .filter(|e| query.job.as_ref().is_none_or(|job| *job == e.job))
            .filter(|e| query.states.is_empty() || query.states.contains(&e.state))
            .filter(|e| environment.is_none_or(|name| *name == e.source || *name == e.target))
            .filter(|e| query.since.is_none_or(|since| e.created_at >= since))
            .filter(|e| query.until.is_none_or(|until| e.created_at < until))
            .filter(|e| after.is_none_or(|after| (e.created_at, &e.id) < after))
            .collect();
        found.sort_by_key(|e| std::cmp::Reverse((e.created_at, &e.id)));
        let more = found.len() > query.page_size();
        found.truncate(query.page_size());
        let next = found.last().filter(|_| more).map(|e| e.id.clone());
        let summary = |e: &Execution| Execution { attempts: Vec::new(), entities: Vec::new(), ..e.clone() };
        Ok(ExecutionPage { executions: found.into_iter().map(summary).collect(), next })
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogPage> {
        let all = self.lock();
        let (_, logs) = all.get(id).ok_or_else(|| unknown(id))?;
        let start = usize::try_from(query.after.unwrap_or(0)).unwrap_or(usize::MAX).min(logs.len());
        let end = (start + query.page_size()).min(logs.len());
        let next = (end < logs.len()).then_some(end as u64);
        Ok(LogPage { lines: logs[start..end].to_vec(), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_memory_recorder_keeps_the_contract() {
        for (name, case) in super::super::suite::CASES {
            println!("{name}");
            case(Arc::new(MemoryRecorder::new())).await;
        }
    }
}
