//! The suites on one PostgreSQL: what `cargo xtask test` starts for each major version.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::count::Count;
use super::{Outcome, Shared, golden, monitoring, pgaudit, poolers, postgres, schemas, suites};
use crate::major::Major;
use crate::{pgrx, project, setup};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    pg: u32,
    /// Where the results go; without it the suites are built, and not run
    #[arg(long)]
    outcomes: Option<PathBuf>,
    /// Also run the suites that one PostgreSQL is enough for
    #[arg(long)]
    first: bool,
    #[command(flatten)]
    shared: Shared,
}

/// Builds the suites of a major where it is.
#[derive(clap::Args)]
pub struct BuildOptions {
    #[arg(long)]
    pg: u32,
    #[command(flatten)]
    shared: Shared,
}

/// One major after the other: the first is waited for first.
pub fn build_where_it_is(options: &BuildOptions) -> Result<()> {
    let turn =
        fs::File::create(project::target("build.lock")).context("cannot make the file to wait for one's turn")?;
    turn.lock().context("cannot wait for one's turn")?;
    let mut command = super::this_program_for(Major::numbered(options.pg)?)?;
    command.args(["test-major", "--pg", &options.pg.to_string()]).args(options.shared.arguments());
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "building for PostgreSQL {} failed ({status})", options.pg);
    Ok(())
}

type Suite<'a> = (&'static str, &'a dyn Fn() -> Result<Vec<Outcome>>);

pub fn run(options: &Options) -> Result<()> {
    let major = Major::numbered(options.pg)?;
    setup::run_for(major)?;
    let first = ["fmt", "xtask", "pg16", "schemas", "monitoring"];
    let wants = |suite: &str| options.shared.wants(suite) && (options.first || !first.contains(&suite));
    let after: [Suite; 7] = [
        ("golden", &|| golden::run(options.shared.accept)),
        ("cluster", &|| Ok(vec![suites::cluster(major)?])),
        ("pgaudit", &|| counted("pgaudit", pgaudit::run())),
        ("schemas", &|| counted("schemas", schemas::run())),
        ("poolers", &|| counted("poolers", poolers::run(options.shared.transactions, options.first))),
        ("monitoring", &|| counted("monitoring", monitoring::run())),
        ("postgres", &|| counted("postgres", postgres::run())),
    ];
    let after: Vec<_> = after.into_iter().filter(|(suite, _)| wants(suite)).collect();
    let Some(file) = &options.outcomes else {
        return suites::build(major, &wants, !after.is_empty());
    };
    // Compiling as one program keeps one core busy, for two minutes; the first suites leave the others to it.
    let ahead = (!after.is_empty()).then(pgrx::build_ahead).transpose()?;
    let mut outcomes = suites::before_install(major, &wants, options.first)?;
    if let Some(ahead) = ahead {
        ahead.wait("the rest of the release build that has gone on meanwhile")?;
    }
    // `cargo pgrx test` has installed its own build, with the tests inside; the rest runs what users get.
    if !after.is_empty() {
        let install = pgrx::install("install")?;
        if install.success {
            for (_, run) in after {
                outcomes.extend(run()?);
            }
        } else {
            install.print_failure()?;
            outcomes.push(Outcome { suite: "install", count: Count::FAILURE, seconds: install.seconds });
        }
    }
    fs::write(file, serde_json::to_vec(&outcomes)?).with_context(|| format!("cannot write {}", file.display()))
}

/// A suite that could not be run is a failure, and the others' results still count.
fn counted(suite: &'static str, result: Result<Outcome>) -> Result<Vec<Outcome>> {
    Ok(vec![result.unwrap_or_else(|problem| {
        println!("  {suite}: {problem:#}");
        Outcome { suite, count: Count::FAILURE, seconds: 0.0 }
    })])
}
