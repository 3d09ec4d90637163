//! Ledger entries whose rows are not what the ledger would say.

use super::context::Context;
use crate::diff::{Entry, LedgerBlock};
use crate::error::Result;
use crate::state::{Scope, StateChanges};

const BLOCKS_AT_ONCE: usize = 16;

/// Makes the ledger say of some rows that they were synced, but not as what: which of them the target holds is not known, and the next
/// run writes those that the source still has.
pub(super) async fn distrust(context: &Context, scope: &Scope, which: impl Fn(&Entry) -> bool) -> Result<()> {
    let mut after = None;
    loop {
        let stored = context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
        let Some(last) = stored.last() else { return Ok(()) };
        after = Some(last.ordinal);
        let mut changes = StateChanges { scope: Some(scope.clone()), ..StateChanges::default() };
        for stored in &stored {
            let mut block = LedgerBlock::unpack(stored)?;
            let mut found = false;
            for entry in block.entries.iter_mut().filter(|entry| which(entry)) {
                entry.distrust();
                found = true;
            }
            if found {
                changes.blocks.push(block.pack());
            }
        }
        if !changes.blocks.is_empty() {
            context.sink.begin(&context.fence).await?.commit(&changes).await?;
        }
        context.check_cancelled()?;
    }
}
