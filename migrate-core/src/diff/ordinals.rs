//! The numbers that keep a ledger's blocks in order, with room for others in between.

/// Blocks are numbered this far apart, so that others fit between them later.
pub(super) const SPACING: i64 = 1 << 40;
/// Where blocks at the ledger's end would come closer than this, they go on behind it instead.
pub(super) const ROOMY: i64 = 1 << 20;

/// Finds ordinals in `(floor, ceiling]` for blocks with the rows that were kept and, up to the ceiling, for those with the rest; none where
/// there is no room. Each side is given as its blocks and rows, and gets room by its rows.
pub(super) fn place_between(
    floor: i64,
    ceiling: i64,
    kept: (usize, usize),
    rest: (usize, usize),
) -> Option<(Vec<i64>, Vec<i64>)> {
    let room = i128::from(ceiling) - i128::from(floor);
    let (first, second) = (kept.0 as i128, rest.0 as i128);
    if first + second > room {
        return None;
    }
    let share = room * kept.1 as i128 / (kept.1 as i128 + rest.1 as i128 + 1);
    let low = share.clamp(first, room - second);
    // All lie between floor and ceiling.
    let at = |offset: i128| (i128::from(floor) + offset) as i64;
    let kept_at = (1..=first).map(|i| at(low * i / first)).collect();
    let rest_at = (1..=second).map(|i| at(low + (room - low) * i / second)).collect();
    Some((kept_at, rest_at))
}
