//! Cases about the state that commits with the rows, and the fence that guards it.

use super::check::{Failure, Outcome, ensure, ensure_eq, ensure_error, ensure_rows};
use super::harness::Harness;
use super::sample::{item, item_rows, items};
use super::work::{Writing, checkpoint, key_of, names, of_scope, owner, page, scope, write, write_and_commit};
use crate::error::ErrorKind;
use crate::schema::TableName;
use crate::sink::{Sink, WriteMode};
use crate::source::Position;
use crate::state::{
    BlockHead, Checkpoint, ColumnFate, Counters, Feeds, Fence, GoneRow, KeyMapChanges, QuarantinedRow, Scope, SourceColumn,
    StateChanges, StoredBlock, SyncedAt, TargetState,
};
use crate::value::{DataType, Key, KeyRange, Value};
use std::sync::Arc;

/// A block with content that depends on its number and a version.
fn block(ordinal: i64, version: u8) -> StoredBlock {
    StoredBlock {
        ordinal,
        format: 3,
        row_count: 2,
        last_key: vec![version, 0, 0xff, ordinal as u8],
        keys: vec![0, version, b'\''],
        checksums: vec![version; 32],
        keys_digest: vec![1; 16],
        rows_digest: vec![version; 16],
        position: format!("position {version}"),
        execution: "first".to_owned(),
        outcomes: vec![0, 1, version],
    }
}

fn refused_row(scope: Scope, key: &[u8], reason: &str) -> QuarantinedRow {
    QuarantinedRow {
        execution: "first".to_owned(),
        scope,
        key: key.to_vec(),
        column: (!reason.is_empty()).then(|| "odd \"column\"".to_owned()),
        reason: reason.to_owned(),
        row: vec![0, 0xff, b'\''],
        columns: vec!["id".to_owned(), "it's, \"odd\"".to_owned()],
    }
}

/// State of every kind for a scope.
fn full_state(scope: Scope) -> StateChanges {
    let mut changes = checkpoint(scope.clone(), 1);
    changes.blocks = vec![block(0, 1), block(10, 1)];
    changes.quarantine = vec![refused_row(scope, b"k", "why")];
    changes
}

/// How much state there is for an entity: checkpoints, blocks, refused rows.
async fn amounts(state: &Arc<dyn TargetState>, entity: &str) -> Result<[usize; 3], Failure> {
    Ok([
        state.checkpoints("job", entity).await?.len(),
        state.ledger_blocks(&scope(entity), None, 100).await?.len(),
        state.quarantine("job", Some(entity), 100).await?.len(),
    ])
}

async fn commit(writing: &Writing, changes: &StateChanges) -> crate::Result<()> {
    writing.begin().await?.commit(changes).await
}

pub(super) async fn the_state_is_made_once_and_never_shown_as_tables(harness: &dyn Harness) -> Outcome {
    let database = harness.database().await?;
    database.create_table(&items()).await?;
    let sink = database.sink().await?;
    let state = sink.state();
    ensure(!state.exists().await?, || "a fresh database is said to have state tables".to_owned())?;
    ensure_eq(sink.schema().await?.tables.len(), 1, "the number of tables before")?;
    sink.check_creatable().await?;
    state.initialize().await?;
    state.initialize().await?;
    ensure(state.exists().await?, || "the state tables were made and are said not to exist".to_owned())?;
    ensure_eq(sink.schema().await?.tables.len(), 1, "the number of tables that the sink shows")?;
    ensure_eq(sink.as_source().schema().await?.tables.len(), 1, "the number of tables that its source shows")?;
    let again = database.sink().await?;
    again.state().initialize().await?;
    ensure(again.state().exists().await?, || "another process does not find the state tables".to_owned())
}

pub(super) async fn rows_and_state_are_committed_together(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    for mode in [WriteMode::Load, WriteMode::Upsert] {
        let page = page(&target, &names(&items()), &item_rows(3))?;
        let mut transaction = writing.begin().await?;
        write(&mut *transaction, &target, &key_of(&items()), &page, mode).await?;
        transaction.commit(&full_state(scope("items"))).await?;
        ensure_rows(&writing.database.rows(&items()).await?, &item_rows(3), "the target")?;
        ensure_eq(amounts(&writing.sink.state(), "items").await?, [1, 2, 1], "checkpoints, blocks and refused rows")?;
    }
    let other = writing.database.sink().await?;
    ensure_eq(amounts(&other.state(), "items").await?, [1, 2, 1], "what another process sees of it")
}

pub(super) async fn rows_and_state_are_rolled_back_together(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    writing.database.insert(&items(), &[item(2)]).await?;
    let page = page(&target, &names(&items()), &item_rows(3))?;
    // The key is there: whenever the load notices, the state must not come through.
    let state = full_state(scope("items"));
    let result = write_and_commit(&writing, &target, &key_of(&items()), &[&page], WriteMode::Load, &state).await;
    ensure_error(result, &[ErrorKind::RowRejected, ErrorKind::Constraint], "a load of a key that is there")?;
    ensure_rows(&writing.database.rows(&items()).await?, &[item(2)], "the target")?;
    ensure_eq(amounts(&writing.sink.state(), "items").await?, [0, 0, 0], "checkpoints, blocks and refused rows")
}

pub(super) async fn epochs_only_grow(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.sink.state();
    let mut last = writing.fence.epoch;
    for n in 0..3 {
        let fence = state.acquire("job", &owner(&format!("execution {n}"))).await?;
        ensure(fence.epoch > last, || format!("epoch {} follows {last}", fence.epoch))?;
        last = fence.epoch;
        state.release(&fence).await?;
    }
    Ok(())
}

pub(super) async fn the_fence_knows_its_holder(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.database.sink().await?.state();
    ensure_eq(state.holder("job").await?, Some(owner("first")), "the holder")?;
    ensure_eq(state.holder("other").await?, None, "the holder of another job's fence")?;
    let second = state.acquire("job", &owner("second")).await?;
    ensure_eq(state.holder("job").await?, Some(owner("second")), "the holder after a takeover")?;
    writing.sink.state().release(&writing.fence).await?;
    ensure_eq(state.holder("job").await?, Some(owner("second")), "the holder after the old one gave its fence back")?;
    state.release(&second).await?;
    ensure_eq(state.holder("job").await?, None, "the holder after the fence was given back")
}

pub(super) async fn jobs_have_fences_of_their_own(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let other = writing.sink.state().acquire("other \"job\"", &owner("other")).await?;
    commit(&writing, &checkpoint(scope("items"), 1)).await?;
    let mut of_other = checkpoint(scope("items"), 7);
    of_other.scope = Some(Scope { job: "other \"job\"".to_owned(), ..scope("items") });
    writing.sink.begin(&other).await?.commit(&of_other).await?;
    let found = writing.sink.state().checkpoints("job", "items").await?;
    ensure_eq(found.iter().map(|(_, c)| c.sequence).collect::<Vec<_>>(), vec![1], "the checkpoints of the first job")
}

/// Tries to write with a fence; whatever step notices, nothing may come through.
async fn try_to_write(sink: &Arc<dyn Sink>, fence: &Fence, target: &crate::schema::TableSchema) -> crate::Result<()> {
    let mut transaction = sink.begin(fence).await?;
    let page = page(target, &names(&items()), &item_rows(3))?;
    write(&mut *transaction, target, &key_of(&items()), &page, WriteMode::Load).await?;
    transaction.commit(&full_state(scope("items"))).await
}

pub(super) async fn an_older_epoch_cannot_commit(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    let other = writing.database.sink().await?;
    let second = other.state().acquire("job", &owner("second")).await?;
    // The old holder's connections may have been ended by the takeover; a new one must be refused for its epoch.
    let mut refused = try_to_write(&writing.sink, &writing.fence, &target).await;
    for _ in 0..3 {
        if refused.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionLost) {
            refused = try_to_write(&writing.sink, &writing.fence, &target).await;
        }
    }
    ensure_error(refused, &[ErrorKind::Fenced], "a commit by the old holder")?;
    let invented = Fence { job: "never taken".to_owned(), epoch: 1 };
    ensure_error(
        try_to_write(&other, &invented, &target).await,
        &[ErrorKind::Fenced],
        "a commit under a fence that was never taken",
    )?;
    ensure_rows(&writing.database.rows(&items()).await?, &[], "the target")?;
    ensure_eq(amounts(&other.state(), "items").await?, [0, 0, 0], "checkpoints, blocks and refused rows")?;
    try_to_write(&other, &second, &target).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(3), "the target after the new holder wrote")
}

pub(super) async fn a_takeover_ends_an_open_transaction_or_waits_for_it(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    let other = writing.database.sink().await?;
    let mut transaction = writing.begin().await?;
    let page = page(&target, &names(&items()), &item_rows(3))?;
    write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Load).await?;
    match other.state().acquire("job", &owner("second")).await {
        Ok(_) => {
            ensure(transaction.commit(&full_state(scope("items"))).await.is_err(), || {
                "a transaction outlived the takeover of its fence".to_owned()
            })?;
            ensure_rows(&writing.database.rows(&items()).await?, &[], "the target")?;
            ensure_eq(amounts(&other.state(), "items").await?, [0, 0, 0], "checkpoints, blocks and refused rows")
        }
        // Where a writer locks the whole database, the takeover is what cannot happen.
        Err(error) => {
            ensure_error::<()>(Err(error), &[ErrorKind::Busy], "a takeover during a transaction")?;
            transaction.commit(&full_state(scope("items"))).await?;
            ensure_rows(&writing.database.rows(&items()).await?, &item_rows(3), "the target")
        }
    }
}

pub(super) async fn settling_passes_for_the_holder_only(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    commit(&writing, &checkpoint(scope("items"), 1)).await?;
    let other = writing.database.sink().await?;
    other.state().settle(&writing.fence).await?;
    let second = other.state().acquire("job", &owner("second")).await?;
    ensure_error(other.state().settle(&writing.fence).await, &[ErrorKind::Fenced], "settling for the old holder")?;
    Ok(other.state().settle(&second).await?)
}

fn source_column(name: &str, data_type: DataType, fate: ColumnFate) -> SourceColumn {
    let key = (name == "id").then_some(0);
    SourceColumn {
        name: name.to_owned(),
        native_type: data_type.to_string(),
        portable_type: DataType::TEXT,
        data_type,
        fate,
        key,
    }
}

pub(super) async fn checkpoints_come_back_as_written_by_part(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.sink.state();
    ensure_eq(state.checkpoints("job", "items").await?, vec![], "the checkpoints before the first commit")?;
    let key = |n: i64| Key::from_values(&[Value::Int(n), Value::Text("it's".into())]);
    let constants = [("it's \"odd\"".to_owned(), "00ff".to_owned())].into();
    let feeds = Feeds { table: TableName::new(Some("a"), "it's \"odd\""), constants };
    let full = |sequence: u64| Checkpoint {
        execution: "execution \"one\"".to_owned(),
        attempt: 3,
        sequence,
        range: KeyRange { after: Some(key(-1)), up_to: Some(key(7)) },
        reached: Some("00ff".to_owned()),
        may_be_empty: true,
        position: Position("00000003-1:2:3".to_owned()),
        done: true,
        loadable: true,
        counters: Counters { read: u64::from(u32::MAX) + 1, inserted: 2, orphans: 3, bytes: 4, ..Counters::default() },
        trigger_columns: ["stamp".to_owned()].into(),
        fingerprint: "v1 'x'".to_owned(),
        distrusted: sequence == 2,
        synced: Some(SyncedAt {
            landmark: (sequence != 5).then(|| "{\"a\": 1}".to_owned()),
            skipping: sequence == 6,
            scrubbed: crate::job::Timestamp::from_millis(1_234),
            version: "1.2".to_owned(),
        }),
        digest: Some("abc".to_owned()),
        source_columns: Some(vec![
            source_column("it's \"odd\"", DataType::Decimal { precision: Some(9), scale: Some(2) }, ColumnFate::Moved),
            source_column("a", DataType::Enum { name: "mood".to_owned(), labels: vec!["ü".to_owned()] }, ColumnFate::LeftOut),
        ]),
        written_columns: vec!["it's \"odd\"".to_owned(), "b".to_owned()],
        feeds: Some(feeds.clone()),
    };
    let part = |partition: u32, checkpoint: Checkpoint| {
        let mut changes = of_scope(Scope { partition, ..scope("items") });
        changes.checkpoint = Some(checkpoint);
        changes
    };
    for (partition, sequence) in [(10, 1), (2, 5), (0, 6), (2, u64::from(u32::MAX) + 1)] {
        commit(&writing, &part(partition, full(sequence))).await?;
    }
    commit(&writing, &part(1, Checkpoint::default())).await?;
    // Another entity, and a commit without a checkpoint, change nothing.
    commit(&writing, &checkpoint(scope("other"), 9)).await?;
    commit(&writing, &StateChanges::default()).await?;
    let expected = vec![(0, full(6)), (1, Checkpoint::default()), (2, full(u64::from(u32::MAX) + 1)), (10, full(1))];
    ensure_eq(writing.database.sink().await?.state().checkpoints("job", "items").await?, expected, "the checkpoints by part")?;
    // What is told of them to other jobs, and to them alone.
    ensure_eq(state.neighbours("job").await?, vec![], "the neighbours of the only job")?;
    let mut neighbours = state.neighbours("another job").await?;
    neighbours.sort_by_key(|(scope, _)| scope.partition);
    let told = [0, 2, 10].map(|partition| (Scope { partition, ..scope("items") }, feeds.clone()));
    ensure_eq(neighbours, told.to_vec(), "the neighbours of another job")
}

pub(super) async fn a_commit_that_follows_one_which_is_not_there_fails_and_leaves_nothing(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let follows = |scope: Scope, sequence: u64, least: u64| {
        let mut changes = checkpoint(scope, sequence);
        changes.blocks = vec![block(1, 5)];
        changes.follows = Some(least);
        changes
    };
    ensure_error(
        commit(&writing, &follows(scope("items"), 2, 1)).await,
        &[ErrorKind::Mismatch],
        "a commit after one that is not there",
    )?;
    commit(&writing, &checkpoint(scope("items"), 3)).await?;
    ensure_error(commit(&writing, &follows(scope("items"), 5, 4)).await, &[ErrorKind::Mismatch], "a commit after a later one")?;
    ensure_eq(writing.sink.state().ledger_blocks(&scope("items"), None, 10).await?, vec![], "the blocks of refused commits")?;
    commit(&writing, &follows(scope("items"), 4, 3)).await?;
    // Others may have written a later one meanwhile.
    commit(&writing, &follows(scope("items"), 12, 2)).await?;
    let without = |least: u64, ordinal: i64| StateChanges {
        checkpoint: None,
        blocks: vec![block(ordinal, 5)],
        ..follows(scope("items"), 0, least)
    };
    ensure_error(
        commit(&writing, &without(13, 2)).await,
        &[ErrorKind::Mismatch],
        "a commit without a checkpoint after a later one",
    )?;
    commit(&writing, &without(12, 3)).await?;
    let blocks = writing.sink.state().ledger_blocks(&scope("items"), None, 10).await?;
    ensure_eq(blocks.iter().map(|block| block.ordinal).collect(), vec![1, 3], "the blocks without a checkpoint")?;
    let found = writing.sink.state().checkpoints("job", "items").await?;
    ensure_eq(found.iter().map(|(_, c)| c.sequence).collect(), vec![12], "the checkpoint")
}

pub(super) async fn ledger_blocks_come_back_in_order_page_by_page(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.sink.state();
    let mut changes = of_scope(scope("items"));
    let ordinals = [i64::MAX, 7, -3, 0, 1 << 40, i64::MIN];
    changes.blocks = ordinals.map(|o| block(o, 5)).to_vec();
    commit(&writing, &changes).await?;
    let mut sorted = ordinals;
    sorted.sort_unstable();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = state.ledger_blocks(&scope("items"), after, 2).await?;
        ensure(page.len() <= 2, || "more blocks than asked for".to_owned())?;
        let Some(last) = page.last() else { break };
        after = Some(last.ordinal);
        found.extend(page);
    }
    ensure_eq(found, sorted.map(|o| block(o, 5)).to_vec(), "the blocks in order")?;
    ensure_eq(state.ledger_blocks(&scope("other"), None, 10).await?, vec![], "the blocks of another scope")
}

pub(super) async fn ledger_blocks_are_overwritten_and_removed_by_ordinal(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let mut changes = of_scope(scope("items"));
    changes.blocks = (0..5).map(|o| block(o, 1)).collect();
    commit(&writing, &changes).await?;
    changes.removed_blocks = vec![0, 3, 99];
    // Removed and written again by one commit: what is written stays.
    changes.blocks = vec![block(1, 2), block(3, 2), block(9, 2)];
    commit(&writing, &changes).await?;
    let expected = vec![block(1, 2), block(2, 1), block(3, 2), block(4, 1), block(9, 2)];
    ensure_eq(writing.sink.state().ledger_blocks(&scope("items"), None, 100).await?, expected, "the blocks")
}

pub(super) async fn digests_of_the_source_are_kept_until_their_block_is_written_again(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let mut changes = of_scope(scope("items"));
    changes.blocks = (1..5).map(|o| block(o, 1)).collect();
    commit(&writing, &changes).await?;
    let mut digests = of_scope(scope("items"));
    // Of blocks that are there alone: another one must not come of it.
    digests.source_digests = [(1, vec![1, 0, 0xff]), (2, vec![2]), (3, Vec::new()), (99, vec![9])].into();
    commit(&writing, &digests).await?;
    changes.blocks = vec![block(2, 2), block(9, 2)];
    changes.removed_blocks = vec![3];
    changes.source_digests = vec![(9, vec![7; 40])];
    commit(&writing, &changes).await?;
    let head = |ordinal, version, source_digest| {
        let StoredBlock { row_count, last_key, execution, .. } = block(ordinal, version);
        BlockHead { ordinal, row_count, last_key, execution, source_digest }
    };
    let state = writing.sink.state();
    let expected = vec![head(1, 1, Some(vec![1, 0, 0xff])), head(2, 2, None), head(4, 1, None), head(9, 2, Some(vec![7; 40]))];
    ensure_eq(state.ledger_heads(&scope("items"), None, 100).await?, expected.clone(), "the heads of the blocks")?;
    ensure_eq(state.ledger_heads(&scope("items"), Some(1), 2).await?, expected[1..3].to_vec(), "two heads")?;
    ensure_eq(state.ledger_heads(&scope("other"), None, 100).await?, Vec::new(), "the heads of another scope")
}

pub(super) async fn a_reset_empties_one_scope_only(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.sink.state();
    let second_part = Scope { partition: 1, ..scope("items") };
    for scope in [scope("items"), second_part.clone(), scope("other")] {
        commit(&writing, &full_state(scope)).await?;
    }
    let mut reset = of_scope(scope("items"));
    reset.reset_ledger = true;
    reset.blocks = vec![block(4, 9)];
    commit(&writing, &reset).await?;
    ensure_eq(state.ledger_blocks(&scope("items"), None, 9).await?, vec![block(4, 9)], "the blocks written by the reset itself")?;
    ensure_eq(state.ledger_blocks(&second_part, None, 9).await?.len(), 2, "the number of blocks of another part")?;
    ensure_eq(amounts(&state, "other").await?, [1, 2, 1], "the state of another entity")?;
    let left = state.checkpoints("job", "items").await?;
    ensure_eq(left.iter().map(|(part, _)| *part).collect::<Vec<_>>(), vec![1], "the parts with a checkpoint")?;
    let left = state.quarantine("job", Some("items"), 9).await?;
    ensure_eq(left.iter().map(|r| r.scope.partition).collect::<Vec<_>>(), vec![1], "the parts with refused rows")
}

pub(super) async fn refused_rows_come_back_as_written_newest_first(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.sink.state();
    let first = vec![refused_row(scope("items"), b"a", "one"), refused_row(scope("items"), b"b\0\xff", "")];
    let second = vec![refused_row(scope("other"), b"a", "three")];
    for rows in [&first, &second] {
        let mut changes = of_scope(rows[0].scope.clone());
        changes.quarantine.clone_from(rows);
        commit(&writing, &changes).await?;
    }
    let all = state.quarantine("job", None, 100).await?;
    ensure_eq(all.len(), 3, "the number of refused rows")?;
    ensure_eq(&all[0], &second[0], "the newest refused row")?;
    let of_items = state.quarantine("job", Some("items"), 100).await?;
    ensure(of_items.len() == 2 && first.iter().all(|r| of_items.contains(r)), || "refused rows came back changed".to_owned())?;
    ensure_eq(state.quarantine("job", None, 1).await?, second, "the newest refused row alone")?;
    ensure_eq(state.quarantine("another job", None, 100).await?, vec![], "the refused rows of another job")
}

pub(super) async fn refused_rows_are_replaced_and_released_by_key(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let refuse = |rows: Vec<QuarantinedRow>, released: &[&[u8]]| {
        let mut changes = of_scope(scope("items"));
        changes.quarantine = rows;
        changes.released = released.iter().map(|k| k.to_vec()).collect();
        changes
    };
    let row = |key: &[u8], reason: &str| refused_row(scope("items"), key, reason);
    commit(&writing, &refuse(vec![row(b"a", "one"), row(b"b", "one"), row(b"c", "one")], &[])).await?;
    commit(&writing, &refuse(vec![row(b"a", "two")], &[b"b", b"missing"])).await?;
    // Rows without a key do not replace one another.
    commit(&writing, &refuse(vec![row(b"", "bag"), row(b"", "bag")], &[])).await?;
    let found = writing.sink.state().quarantine("job", Some("items"), 100).await?;
    let mut found: Vec<_> = found.into_iter().map(|r| (r.key, r.reason)).collect();
    found.sort();
    let pair = |key: &[u8], reason: &str| (key.to_vec(), reason.to_owned());
    ensure_eq(found, vec![pair(b"", "bag"), pair(b"", "bag"), pair(b"a", "two"), pair(b"c", "one")], "the refused rows")
}

pub(super) async fn gone_rows_come_back_latest_first_until_they_are_settled(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let gone = |key: &[u8], own: bool| GoneRow { key: key.to_vec(), own };
    let listed = |scope: Scope, gone: Vec<GoneRow>| StateChanges { gone, ..of_scope(scope) };
    commit(&writing, &listed(scope("items"), vec![gone(b"a", false), gone(b"b", true)])).await?;
    commit(&writing, &listed(scope("other"), vec![gone(b"x", false)])).await?;
    commit(&writing, &listed(scope("items"), vec![gone(b"c", false)])).await?;
    let state = writing.sink.state();
    let all = state.gone_rows(&scope("items"), None, 10).await?;
    let rows = |found: &[(i64, GoneRow)]| found.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>();
    ensure_eq(rows(&all), vec![gone(b"c", false), gone(b"b", true), gone(b"a", false)], "the gone rows")?;
    ensure_eq(rows(&state.gone_rows(&scope("items"), Some(all[0].0), 1).await?), vec![gone(b"b", true)], "the second page")?;
    commit(&writing, &StateChanges { gone_settled: vec![all[1].0], ..of_scope(scope("items")) }).await?;
    ensure_eq(
        rows(&state.gone_rows(&scope("items"), None, 10).await?),
        vec![gone(b"c", false), gone(b"a", false)],
        "the gone rows after one was settled",
    )?;
    commit(&writing, &StateChanges { reset_ledger: true, ..of_scope(scope("items")) }).await?;
    ensure_eq(state.gone_rows(&scope("items"), None, 10).await?, vec![], "the gone rows after a reset")?;
    ensure_eq(rows(&state.gone_rows(&scope("other"), None, 10).await?), vec![gone(b"x", false)], "those of another entity")
}

pub(super) async fn an_id_of_the_target_stands_for_one_id_of_the_source(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let state = writing.sink.state();
    let int = |n: i64| Key::from_values([&Value::Int(n)]);
    let pair = |source: i64, target: i64| (int(source), int(target));
    let known = async |entity: &str| -> Result<Vec<(i64, i64)>, Failure> {
        let wanted: Vec<Key> = (0..10).map(int).collect();
        let found = state.mapped("job", entity, &wanted).await?;
        let back: Vec<Key> = found.values().cloned().collect();
        ensure_eq(state.mapped_back("job", entity, &back).await?.len(), found.len(), "the entries by the target's ids")?;
        let number = |key: &Key| match key.values()?.first() {
            Some(Value::Int(number)) => Ok(*number),
            other => Err(Failure::new(format!("an id became {other:?}"))),
        };
        let mut pairs = Vec::new();
        for (source, target) in &found {
            pairs.push((number(source)?, number(target)?));
        }
        pairs.sort_unstable();
        Ok(pairs)
    };
    let put = async |entity: &str, key_map: KeyMapChanges| {
        commit(&writing, &StateChanges { scope: Some(scope(entity)), key_map, ..StateChanges::default() }).await
    };
    let entries = |entries: Vec<(Key, Key)>| KeyMapChanges { entries, ..KeyMapChanges::default() };
    put("a", entries(vec![pair(1, 101), pair(2, 102), pair(3, 103), pair(3, 104)])).await?;
    put("b", entries(vec![pair(1, 7)])).await?;
    ensure_eq(known("a").await?, vec![(1, 101), (2, 102), (3, 104)], "the key map")?;
    // WHEN two swap what they stand for, and a third takes what one of them had
    put("a", entries(vec![pair(1, 102), pair(2, 101)])).await?;
    ensure_eq(known("a").await?, vec![(1, 102), (2, 101), (3, 104)], "the key map after a swap")?;
    put("a", entries(vec![pair(5, 104)])).await?;
    ensure_eq(known("a").await?, vec![(1, 102), (2, 101), (5, 104)], "the key map after an id was taken over")?;
    put("a", KeyMapChanges { gone: vec![int(1)], gone_targets: vec![int(104)], ..KeyMapChanges::default() }).await?;
    ensure_eq(known("a").await?, vec![(2, 101)], "the key map after rows were deleted")?;
    let mut transaction = writing.begin().await?;
    let changes = StateChanges { scope: Some(scope("a")), key_map: entries(vec![pair(8, 108)]), ..StateChanges::default() };
    transaction.put_state(changes).await?;
    transaction.rollback().await?;
    ensure_eq(known("a").await?, vec![(2, 101)], "the key map after a rollback")?;
    put("a", KeyMapChanges { reset: true, entries: vec![pair(9, 109)], ..KeyMapChanges::default() }).await?;
    ensure_eq(known("a").await?, vec![(9, 109)], "the key map after a reset")?;
    ensure_eq(known("b").await?, vec![(1, 7)], "the key map of another entity")
}
