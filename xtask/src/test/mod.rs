//! `cargo xtask test`: every suite on one PostgreSQL or on all, one table, one last line.
//!
//! Each major version is a run of this program of its own (`major`), on this machine or in a root of another Debian
//! release, whose results come back in a file.

mod count;
mod golden;
mod major;
mod monitoring;
mod pgaudit;
mod poolers;
mod postgres;
mod report;
mod schemas;
mod suites;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use crate::major::{Major, SUPPORTED};
use crate::root::Root;
use crate::{project, setup, step};
use count::Count;
pub use major::{BuildOptions, Options as MajorOptions, build_where_it_is, run as run_major};
pub use poolers::{ClientOptions as PoolerClientOptions, run_client as run_pooler_client};
use report::{Recorded, Run};

const ALL: &str = "all";

/// As they are run; `golden` stands for the two that compare printed output.
const SUITES: [&str; 13] = [
    "fmt",
    "xtask",
    "pg16",
    "clippy",
    "pure",
    "pg_test",
    "golden",
    "cluster",
    "pgaudit",
    "schemas",
    "poolers",
    "monitoring",
    "postgres",
];

#[derive(clap::Args)]
pub struct Options {
    /// PostgreSQL major version, or all that a Debian release ships; by default the machine's own
    #[arg(long, value_parser = PossibleValuesParser::new(["15", "16", "17", "18", ALL]))]
    pg: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

/// What a run of all majors hands on to that of each.
#[derive(clap::Args)]
struct Shared {
    /// Take the golden tests' results as the expected ones; review the difference before committing it
    #[arg(long)]
    accept: bool,
    /// Run these suites only
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(SUITES))]
    only: Vec<String>,
    /// Of each configuration of the suite `poolers`, instead of what fits into the time of a build
    #[arg(long)]
    transactions: Option<u64>,
}

impl Shared {
    fn wants(&self, suite: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == suite)
    }

    fn arguments(&self) -> Vec<String> {
        let only = self.only.iter().map(|suite| format!("--only={suite}"));
        let transactions = self.transactions.map(|count| format!("--transactions={count}"));
        self.accept.then(|| "--accept".to_owned()).into_iter().chain(transactions).chain(only).collect()
    }
}

/// What one suite did.
#[derive(Serialize)]
pub struct Outcome {
    suite: &'static str,
    count: Count,
    seconds: f64,
}

impl Options {
    fn majors(&self) -> Result<Vec<&'static Major>> {
        match self.pg.as_deref() {
            None => Ok(vec![Major::of_this_machine()?]),
            Some(ALL) => Ok(SUPPORTED.iter().filter(|major| major.debian.is_some()).collect()),
            Some(number) => Ok(vec![Major::numbered(number.parse()?)?]),
        }
    }
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let mut runs: Vec<Run> = Vec::new();
    let majors = options.majors()?;
    let mut ahead = build_ahead(&majors, &options.shared)?;
    for major in majors {
        if let Some((_, ahead)) = ahead.pop_front_if(|(number, _)| *number == major.number) {
            // What went wrong goes wrong again, and is shown.
            ahead
                .wait(&format!("the rest of the builds for PostgreSQL {} that have gone on meanwhile", major.number))?;
        }
        let started = Instant::now();
        // The suites that have little to do with PostgreSQL's version need no second run.
        let results = results(major, runs.is_empty(), &options.shared);
        runs.push(Run::new(major.number, results, started.elapsed()));
    }
    let total = report::print(&runs);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds for the later majors while the servers of the first are tested, which leaves the processors idle half of the time.
/// Tests come first wherever both want one.
fn build_ahead(majors: &[&'static Major], shared: &Shared) -> Result<VecDeque<(u32, step::Beside)>> {
    let [first, later @ ..] = majors else { return Ok(VecDeque::new()) };
    // Two at a time cannot install packages, and the first must not find cargo-pgrx half built.
    if later.iter().any(|major| major.pg_config_here().is_none()) {
        setup::require("debootstrap")?;
        if first.pg_config_here().is_some() {
            setup::run_for(first)?;
        }
    }
    let build = |major: &&Major| {
        let mut command = project::dependent("nice");
        command.args(["-n", "19"]).arg(project::this_program()?);
        command.args(["build-major", "--pg", &major.number.to_string()]).args(shared.arguments());
        Ok((major.number, step::beside(&format!("build-{}", major.feature()), &mut command)?))
    };
    later.iter().map(build).collect()
}

/// Runs the suites of one major where it is.
fn results(major: &Major, first: bool, shared: &Shared) -> Result<Vec<Recorded>> {
    let mut command = this_program_for(major)?;
    match major.pg_config_here() {
        Some(_) => println!("PostgreSQL {} on this machine", major.number),
        None => println!("PostgreSQL {} in a root of Debian {}", major.number, major.debian.unwrap_or_default()),
    }
    let file = project::target(&format!("outcomes-{}.json", major.feature()));
    forget(&file)?;
    command.args(["test-major", "--pg", &major.number.to_string(), "--outcomes"]).arg(&file);
    command.args(first.then_some("--first")).args(shared.arguments());
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    let outcomes = fs::read(&file).with_context(|| format!("the run ended without results ({status})"))?;
    Ok(serde_json::from_slice(&outcomes)?)
}

/// This program where the major is: on this machine, or in a root, which is made if it is not there yet.
fn this_program_for(major: &Major) -> Result<Command> {
    let (mut command, pg_config) = match major.pg_config_here() {
        Some(pg_config) => (project::dependent(project::this_program()?), pg_config),
        None => (Root::of(major)?.xtask()?, major.packaged_pg_config()),
    };
    command.env("PG_CONFIG", pg_config);
    Ok(command)
}

fn forget(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

/// Judges a finished step by what it printed; names the tests that failed and shows the end of the output.
fn judge(suite: &'static str, finished: &step::Finished, read: fn(&str) -> Count) -> Result<Outcome> {
    let output = finished.output()?;
    let mut count = read(&output);
    if !finished.success && count.failed == 0 {
        // It did not come to the point of counting: a build error, or a server that did not start.
        count.failed = 1;
    }
    if count.failed > 0 {
        finished.print_failure()?;
        output.lines().filter(|line| count::names_a_failure(line)).for_each(|line| println!("    {line}"));
    }
    Ok(Outcome { suite, count, seconds: finished.seconds })
}
