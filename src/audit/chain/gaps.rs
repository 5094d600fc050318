//! Ids that a transaction holds which had not ended when later ids were sealed. Transactions end in another order than
//! they take ids; a sealed id is never looked at again, so these ranges are all that has to be looked into once more.

use super::cursor::Cursor;
use super::list;
use crate::spi::{self, View};
use pgrx::pg_sys;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    pub first: i64,
    pub last: i64,
    /// Every transaction that holds an id of the range began before this one: see orgscope.audit_numbered().
    noticed: u64,
}

/// The oldest transaction that may still write, as the next statement sees it.
pub fn oldest() -> u64 {
    let oldest =
        spi::query("SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text", &[]);
    oldest.and_then(|xid| xid.parse().ok()).unwrap_or_default()
}

pub fn load(view: View, ids: std::ops::RangeInclusive<i64>) -> Vec<Gap> {
    const GAPS: &str = "SELECT first_id, last_id, noticed FROM orgscope.audit_gap \
         WHERE first_id OPERATOR(pg_catalog.>=) $1::pg_catalog.int8 AND last_id OPERATOR(pg_catalog.<=) $2::pg_catalog.int8 \
         ORDER BY first_id";
    let (first, last) = (ids.start().to_string(), ids.end().to_string());
    let mut cursor = Cursor::open(GAPS, &[Some(&first), Some(&last)], view);
    let mut gaps = Vec::new();
    while let Some(row) = cursor.next() {
        gaps.push(Gap { first: row.int8(0), last: row.int8(1), noticed: row.int8(2) as u64 });
    }
    cursor.close();
    gaps
}

pub fn contain(gaps: &[Gap], id: i64) -> bool {
    let after = gaps.partition_point(|g| g.first <= id);
    after > 0 && gaps[after - 1].last >= id
}

/// What is left of the gaps when the rows `found`, ascending, have come; a gap whose transactions have all ended before
/// its rows were looked for is closed for good.
fn remaining(gaps: &[Gap], found: &[i64], oldest: u64) -> Vec<Gap> {
    let mut left = Vec::new();
    for gap in gaps.iter().filter(|g| g.noticed > oldest) {
        left.extend(holes(
            gap.first - 1,
            found.iter().copied().filter(|id| (gap.first..=gap.last).contains(id)),
            gap.noticed,
        ));
        let last = found.iter().rev().find(|id| (gap.first..=gap.last).contains(id));
        let tail = Gap { first: last.map_or(gap.first, |id| id + 1), ..*gap };
        if tail.first <= tail.last {
            left.push(tail);
        }
    }
    left
}

/// The ranges that are missing between `top` and the last of `ids`, ascending.
fn holes(top: i64, ids: impl Iterator<Item = i64>, noticed: u64) -> Vec<Gap> {
    let mut before = top;
    let mut holes = Vec::new();
    for id in ids {
        if id > before + 1 {
            holes.push(Gap { first: before + 1, last: id - 1, noticed });
        }
        before = id;
    }
    holes
}

/// Notes what is missing between `top` and the last of the ids just sealed.
pub fn notice(top: i64, ids: &[i64]) {
    // SAFETY: reads shared memory under its lock.
    let noticed = unsafe { pg_sys::ReadNextFullTransactionId() }.value;
    insert(&holes(top, ids.iter().copied(), noticed));
}

/// Replaces `gaps` by what is left of them.
pub fn settle(gaps: &[Gap], found: &[i64], oldest: u64) {
    let left = remaining(gaps, found, oldest);
    let gone: Vec<&Gap> = gaps.iter().filter(|g| !left.contains(g)).collect();
    if gone.is_empty() {
        return;
    }
    let first = list(gone.iter().map(|g| g.first));
    let delete = "DELETE FROM orgscope.audit_gap WHERE first_id OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.int8[])";
    spi::execute(delete, &[Some(&first)]);
    insert(&left.into_iter().filter(|g| !gaps.contains(g)).collect::<Vec<_>>());
}

fn insert(gaps: &[Gap]) {
    if gaps.is_empty() {
        return;
    }
    let columns =
        [list(gaps.iter().map(|g| g.first)), list(gaps.iter().map(|g| g.last)), list(gaps.iter().map(|g| g.noticed))];
    spi::execute(
        "INSERT INTO orgscope.audit_gap (first_id, last_id, noticed) SELECT * FROM ROWS FROM (\
             pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.int8[]), \
             pg_catalog.unnest($3::pg_catalog.xid8[])) g",
        &columns.each_ref().map(|c| Some(c.as_str())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(first: i64, last: i64, noticed: u64) -> Gap {
        Gap { first, last, noticed }
    }

    #[test]
    fn what_is_missing_between_ids() {
        assert_eq!(holes(0, [1, 2, 5, 6, 9].into_iter(), 7), [gap(3, 4, 7), gap(7, 8, 7)]);
        assert_eq!(holes(4, [5].into_iter(), 7), []);
        assert_eq!(holes(4, [].into_iter(), 7), []);
    }

    #[test]
    fn a_gap_shrinks_and_closes() {
        let gaps = [gap(3, 8, 50), gap(20, 20, 60)];
        assert_eq!(remaining(&gaps, &[], 40), gaps);
        assert_eq!(remaining(&gaps, &[5], 40), [gap(3, 4, 50), gap(6, 8, 50), gap(20, 20, 60)]);
        assert_eq!(remaining(&gaps, &[3, 8, 20], 40), [gap(4, 7, 50)]);
        assert_eq!(remaining(&gaps, &[4], 50), [gap(20, 20, 60)]);
        assert!(contain(&gaps, 3) && contain(&gaps, 8) && contain(&gaps, 20));
        assert!(!contain(&gaps, 2) && !contain(&gaps, 9) && !contain(&gaps, 21));
    }
}
