//! `cargo xtask bench`: what the separation of organizations costs, beside a plain table.
//!
//! Within a round every case runs once for each variant, in alternating order, so that a slow moment of the machine
//! meets all of them. Ratios are taken within a round; the table shows medians over the rounds.

mod audit;
mod case;
mod copy;
mod history;
mod machine;
mod measure;
mod report;
mod scoping;
mod search;
mod variant;

use anyhow::Result;
use orgscope_cluster::{Cluster, Options as ClusterOptions};

use crate::{pgrx, project, setup, step};
use case::CASES;
use measure::Bench;
use report::Results;
use variant::VARIANTS;

#[derive(clap::Args)]
pub struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A tenth of the rows and two short rounds: shows that the benchmark works, not what things cost
    #[arg(long)]
    quick: bool,
    /// Only the cases with this text in their name
    #[arg(long, default_value = "")]
    case: String,
    /// Instead: what enabling costs, of a schema of 300 tables and of the rows of one big table
    #[arg(long, conflicts_with = "case")]
    scoping: bool,
    /// Instead: what change history costs, beside a plain and a scoped table
    #[arg(long, conflicts_with_all = ["case", "scoping"])]
    history: bool,
    /// Instead: what the audit costs beside it and on its path, and how fast its chain is sealed and verified
    #[arg(long, conflicts_with_all = ["case", "scoping", "history"])]
    audit: bool,
    /// Instead: searches with LIKE, full text, jsonb and arrays under row security, beside a plain table
    #[arg(long, conflicts_with_all = ["case", "scoping", "history", "audit"])]
    search: bool,
    /// Instead: what COPY FROM into a scoped table costs, beside INSERTs and a plain table
    #[arg(long, conflicts_with_all = ["case", "scoping", "history", "audit", "search"])]
    copy: bool,
    /// Instead: what a signed token costs a transaction, beside a plain context
    #[arg(long, conflicts_with_all = ["case", "scoping", "history", "audit", "search", "copy"])]
    token: bool,
}

/// How much is measured.
pub struct Scale {
    pub rows: u32,
    pub bulk_rows: u32,
    pub pgbench_seconds: u32,
    pub rounds: u32,
}

impl Scale {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self { rows: 100_000, bulk_rows: 20_000, pgbench_seconds: 1, rounds: 2 }
        } else {
            Self { rows: 1_000_000, bulk_rows: 200_000, pgbench_seconds: 3, rounds: options.rounds }
        }
    }
}

pub fn run(options: &Options) -> Result<()> {
    setup::run()?;
    pgrx::install("bench-install")?.required()?;
    let scale = Scale::of(options);
    if !options.scoping {
        machine::use_one_core()?;
    }
    if options.token {
        let mut bench = project::cargo();
        bench.args(["bench", "--quiet", "--package", "orgscope-cluster", "--bench", "token"]);
        let finished = step::run("bench-token", "transactions with tokens", &mut bench)?.required()?;
        println!("{}", finished.output()?);
        return Ok(());
    }
    let start = |base: ClusterOptions| step::work("start a cluster", || Cluster::start(&configuration(base)));
    let cluster = start(ClusterOptions::default())?;
    if options.scoping {
        return scoping::run(&cluster, scale.rows * 5, scale.rounds.min(3));
    }
    if options.history {
        return history::run(&cluster, scale.bulk_rows, scale.rounds);
    }
    if options.search {
        return search::run(&cluster, scale.rows, scale.rounds);
    }
    if options.copy {
        return copy::run(&cluster, scale.bulk_rows, scale.rounds);
    }
    if options.audit {
        let absent = start(ClusterOptions::without_preload())?;
        return audit::run(&cluster, &absent, &scale, &audit::Options { quick: options.quick });
    }
    let bench = step::work("fill the tables", || Bench::prepare(&cluster, &scale))?;
    let mut results = Results::default();
    for round in 0..scale.rounds {
        step::work(&format!("round {} of {}", round + 1, scale.rounds), || {
            measure_all(&bench, &options.case, round, &mut results)
        })?;
    }
    machine::print(&cluster, &scale)?;
    results.print();
    Ok(())
}

fn measure_all(bench: &Bench, wanted: &str, round: u32, results: &mut Results) -> Result<()> {
    for (number, case) in CASES.iter().enumerate().filter(|(_, case)| case.name.contains(wanted)) {
        let mut order = VARIANTS;
        if (round as usize + number) % 2 == 1 {
            order.reverse();
        }
        for variant in order {
            results.add(number, variant, bench.measure(case, variant, round)?);
        }
    }
    Ok(())
}

/// Everything in memory and nothing in the background, so that the cost of a statement is what shows.
/// The context comes with the connection (`own transaction` is the case that sets it each time).
fn configuration(base: ClusterOptions) -> ClusterOptions {
    [
        "orgscope.context_lifetime = 'connection'",
        "shared_buffers = '512MB'",
        "max_wal_size = '8GB'",
        "checkpoint_timeout = '1h'",
        "autovacuum = off",
        "jit = off",
        "max_parallel_workers_per_gather = 0",
    ]
    .into_iter()
    .fold(base, ClusterOptions::line)
}
