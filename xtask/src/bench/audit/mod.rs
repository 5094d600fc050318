//! What the audit costs: beside it, for a role that row security holds; on it, for one that steps around; and of the chain.

mod chain;
mod pgbench;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use orgscope_cluster::Cluster;

use super::Scale;
use super::report::median;
use crate::step;
use pgbench::{APPLICATION, Case, Durability, Script};

/// What the library preloaded, with `audit_reads` on, must leave of the throughput that there is without.
const OFF_PATH_TARGET: f64 = 0.99;
const OFF_PATH_ROUNDS: u32 = 7;
/// Rows a second.
const SEALING_TARGET: f64 = 50_000.0;
const VERIFYING_TARGET: f64 = 500_000.0;

const BESIDE: [Script; 2] = [Script::SelectOnly, Script::TpcbLike];

/// Reads and writes of one row, each first as the role that row security holds.
const STATEMENTS: [(&str, Case); 6] = [
    ("read of one row, normal role", Case { script: Script::SelectOnly, user: APPLICATION }),
    ("the same by BYPASSRLS, audit_reads = off", Case { script: Script::SelectOnly, user: Durability::Off.user() }),
    ("the same, async", Case { script: Script::SelectOnly, user: Durability::Async.user() }),
    ("the same, audit_durability = sync", Case { script: Script::SelectOnly, user: Durability::Sync.user() }),
    ("update of one row, normal role", Case { script: Script::UpdateOne, user: APPLICATION }),
    ("the same by BYPASSRLS", Case { script: Script::UpdateOne, user: Durability::Async.user() }),
];

pub struct Options {
    pub quick: bool,
}

/// `absent` has no preloaded library: what a scoped table calls loads it.
pub fn run(preloaded: &Cluster, absent: &Cluster, scale: &Scale, options: &Options) -> Result<()> {
    step::work("fill the tables", || [preloaded, absent].into_iter().try_for_each(|c| pgbench::prepare(c, scale)))?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["what", "measured", "target"]);
    beside(preloaded, absent, scale, options, &mut table)?;
    statements(preloaded, scale, &mut table)?;
    for chains in [1, 10] {
        let speed = step::work(&format!("seal and verify {} rows, {chains} chains", scale.bulk_rows), || {
            chain::measure(absent, scale, chains)
        })?;
        let of = if chains == 1 { "of one chain".to_owned() } else { format!("of {chains} chains, interleaved") };
        table.add_row(speeds(&format!("sealing {of}"), speed.sealing, SEALING_TARGET));
        table.add_row(speeds(&format!("verify_audit {of}"), speed.verifying, VERIFYING_TARGET));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}\n");
    Ok(())
}

/// The servers take turns, and are started anew for each round: where a process happens to have its memory makes a
/// difference of some percent, which lasts as long as the server.
fn beside(preloaded: &Cluster, absent: &Cluster, scale: &Scale, options: &Options, table: &mut Table) -> Result<()> {
    let rounds = if options.quick { scale.rounds } else { scale.rounds.max(OFF_PATH_ROUNDS) };
    let mut ratios = [const { Vec::new() }; BESIDE.len()];
    for round in 1..=rounds {
        step::work(&format!("preloaded and absent, round {round} of {rounds}"), || {
            [preloaded, absent].into_iter().try_for_each(pgbench::restart)?;
            for (script, ratios) in BESIDE.iter().zip(&mut ratios) {
                let case = Case { script: *script, user: APPLICATION };
                let seconds = scale.pgbench_seconds;
                let (with, without) = if round % 2 == 0 {
                    (case.run(preloaded, seconds)?, case.run(absent, seconds)?)
                } else {
                    let without = case.run(absent, seconds)?;
                    (case.run(preloaded, seconds)?, without)
                };
                ratios.push(without / with);
            }
            Ok(())
        })?;
    }
    for (script, ratios) in BESIDE.iter().zip(&ratios) {
        let ratio = median(ratios);
        let what = format!("{}, normal role: throughput, preloaded / absent", script.name());
        table.add_row([what, format!("{ratio:.3}"), verdict(format!("≥ {OFF_PATH_TARGET}"), ratio >= OFF_PATH_TARGET)]);
    }
    Ok(())
}

fn statements(cluster: &Cluster, scale: &Scale, table: &mut Table) -> Result<()> {
    let mut times = [const { Vec::new() }; STATEMENTS.len()];
    for round in 1..=scale.rounds {
        step::work(&format!("statements on the audit's path, round {round} of {}", scale.rounds), || {
            STATEMENTS.iter().zip(&mut times).try_for_each(|((_, case), times)| {
                times.push(case.run(cluster, scale.pgbench_seconds)?);
                Ok(())
            })
        })?;
    }
    for ((what, _), times) in STATEMENTS.iter().zip(&times) {
        table.add_row([(*what).to_owned(), format!("{:.1} µs", median(times)), String::new()]);
    }
    Ok(())
}

fn speeds(what: &str, rows_a_second: f64, target: f64) -> [String; 3] {
    let target_text = format!("≥ {:.0} k", target / 1000.0);
    let measured = format!("{:.0} k rows/s", rows_a_second / 1000.0);
    [what.to_owned(), measured, verdict(target_text, rows_a_second >= target)]
}

fn verdict(target: String, reached: bool) -> String {
    format!("{target} {}", if reached { "reached" } else { "MISSED" })
}
