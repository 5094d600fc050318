//! Where a backfill stands: for its next call, for other sessions, and for the one who waits for it.

use super::Leaf;
use crate::pg::as_superuser;
use crate::spi;
use pgrx::pg_sys;
use std::time::{Duration, Instant};

/// The first block not done of a leaf; leaves that sort before it are done.
#[derive(Clone, Copy)]
struct Place {
    leaf: u32,
    file: u32,
    block: u64,
}

pub struct Progress {
    pub target: pg_sys::Oid,
    table: String,
    resumed: Option<Place>,
    pub rows_total: u64,
    pub rows_done: u64,
    batches: u64,
    blocks_total: u64,
    blocks_skipped: u64,
    blocks_done: u64,
    started: Instant,
    last_notice: Instant,
}

impl Progress {
    pub fn start(target: pg_sys::Oid, table: &str, leaves: &[Leaf], rows_total: u64) -> Self {
        let now = Instant::now();
        let mut progress = Self {
            target,
            table: table.into(),
            resumed: place(target),
            rows_total,
            rows_done: 0,
            batches: 0,
            blocks_total: leaves.iter().map(|l| l.blocks).sum(),
            blocks_skipped: 0,
            blocks_done: 0,
            started: now,
            last_notice: now,
        };
        progress.blocks_skipped = leaves.iter().map(|leaf| progress.first_block(leaf)).sum();
        progress.blocks_done = progress.blocks_skipped;
        progress.write(START, progress.resumed);
        progress
    }

    /// Where the first pass begins in a leaf. Nothing relies on it but the time: what it leaves out, the next pass finds.
    pub fn first_block(&self, leaf: &Leaf) -> u64 {
        match self.resumed {
            Some(place) if leaf.oid < place.leaf => leaf.blocks,
            Some(place) if leaf.oid == place.leaf && leaf.file == place.file => place.block.min(leaf.blocks),
            _ => 0,
        }
    }

    /// Written in the transaction of the batch. Only the first pass counts pages: the others look again at the same.
    pub fn add(&mut self, leaf: &Leaf, from: u64, to: u64, rows: u64, first: bool) {
        self.rows_done += rows;
        self.batches += 1;
        if first {
            self.blocks_done += to - from;
        }
        self.write(ADD, first.then_some(Place { leaf: leaf.oid, file: leaf.file, block: to }));
        if self.last_notice.elapsed() >= Duration::from_secs(1) {
            self.last_notice = Instant::now();
            self.notice();
        }
    }

    fn notice(&self) {
        let share = self.blocks_done as f64 / self.blocks_total.max(1) as f64;
        let now = self.blocks_done - self.blocks_skipped;
        let left = (self.blocks_total - self.blocks_done) as f64 / now.max(1) as f64;
        pgrx::notice!(
            "backfill of table \"{}\": {:.1}%, {} of {} row(s), about {} left",
            self.table,
            100.0 * share,
            self.rows_done,
            self.rows_total,
            clock(self.started.elapsed().mul_f64(left))
        );
    }

    pub fn finish(&mut self, remaining: u64) {
        self.write(FINISH, None);
        pgrx::notice!(
            "backfill of table \"{}\" is done: {} row(s) filled, {remaining} row(s) without an organization",
            self.table,
            self.rows_done
        );
    }

    fn write(&self, sql: &str, place: Option<Place>) {
        // SAFETY: reads this backend's process id.
        let pid = unsafe { pg_sys::MyProcPid };
        let numbers = [
            u64::from(self.target.to_u32()),
            pid as u64,
            self.rows_total,
            self.rows_done,
            self.batches,
            self.blocks_total,
            self.blocks_skipped,
            self.blocks_done,
        ];
        let place = place.map(|p| [u64::from(p.leaf), u64::from(p.file), p.block]);
        let text = numbers.iter().map(|n| Some(n.to_string()));
        let place = (0..3).map(|i| place.map(|p| p[i].to_string()));
        let args: Vec<Option<String>> = text.chain(place).collect();
        as_superuser(|| spi::execute(sql, &args.iter().map(Option::as_deref).collect::<Vec<_>>()));
    }
}

fn place(target: pg_sys::Oid) -> Option<Place> {
    let sql = "SELECT concat_ws(' ', leaf, leaf_file, next_block) FROM orgscope.backfill \
               WHERE target = $1::oid AND finished_at IS NULL AND leaf IS NOT NULL";
    let text = as_superuser(|| spi::query(sql, &[Some(&target.to_u32().to_string())]))?;
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Place { leaf: next()? as u32, file: next()? as u32, block: next()? })
}

/// As a clock shows it.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

// The same arguments for all three: target, pid, rows total and done, batches, blocks total, skipped and done, and the
// place: leaf, its file, next block.
const START: &str = "INSERT INTO orgscope.backfill (target, pid, rows_total, rows_done, batches, blocks_total, blocks_skipped, \
     blocks_done, leaf, leaf_file, next_block) \
     VALUES ($1::oid, $2::int4, $3::int8, $4::int8, $5::int8, $6::int8, $7::int8, $8::int8, $9::oid, $10::oid, $11::int8) \
     ON CONFLICT (target) DO UPDATE SET pid = EXCLUDED.pid, rows_total = EXCLUDED.rows_total, rows_done = 0, batches = 0, \
     blocks_total = EXCLUDED.blocks_total, blocks_skipped = EXCLUDED.blocks_skipped, blocks_done = EXCLUDED.blocks_done, \
     leaf = EXCLUDED.leaf, leaf_file = EXCLUDED.leaf_file, next_block = EXCLUDED.next_block, \
     started_at = clock_timestamp(), updated_at = clock_timestamp(), finished_at = NULL";
const ADD: &str = "UPDATE orgscope.backfill SET pid = $2::int4, rows_total = $3::int8, rows_done = $4::int8, batches = $5::int8, \
     blocks_total = $6::int8, blocks_skipped = $7::int8, blocks_done = $8::int8, leaf = COALESCE($9::oid, leaf), \
     leaf_file = COALESCE($10::oid, leaf_file), next_block = COALESCE($11::int8, next_block), \
     updated_at = clock_timestamp() WHERE target = $1::oid";
const FINISH: &str = "UPDATE orgscope.backfill SET pid = $2::int4, rows_total = $3::int8, rows_done = $4::int8, batches = $5::int8, \
     blocks_total = $6::int8, blocks_skipped = $7::int8, blocks_done = $8::int8, leaf = $9::oid, leaf_file = $10::oid, \
     next_block = $11::int8, updated_at = clock_timestamp(), finished_at = clock_timestamp() WHERE target = $1::oid";
