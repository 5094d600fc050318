//! The suites on one PostgreSQL: what `cargo xtask test` starts for each major version.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::count::Count;
use super::{Outcome, golden, postgres, schemas, suites};
use crate::major::Major;
use crate::{pgrx, setup};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    pg: u32,
    /// Where the results go
    #[arg(long)]
    outcomes: PathBuf,
    /// Also run the suites that one PostgreSQL is enough for
    #[arg(long)]
    first: bool,
    #[arg(long)]
    accept: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let major = Major::numbered(options.pg)?;
    setup::run_for(major)?;
    let mut outcomes = suites::before_install(major, options.first)?;
    // `cargo pgrx test` has installed its own build, with the tests inside; the rest runs what users get.
    let install = pgrx::install("install")?;
    if install.success {
        outcomes.extend(golden::run(options.accept)?);
        outcomes.push(suites::cluster(major)?);
        if options.first {
            outcomes.push(schemas::run().or_else(|problem| no_result("schemas", &problem))?);
        }
        outcomes.push(postgres::run().or_else(|problem| no_result("postgres", &problem))?);
    } else {
        install.print_tail()?;
        outcomes.push(Outcome { suite: "install", count: Count::FAILURE, seconds: install.seconds });
    }
    let file = &options.outcomes;
    fs::write(file, serde_json::to_vec(&outcomes)?).with_context(|| format!("cannot write {}", file.display()))
}

/// A suite that could not be run is a failure, and the others' results still count.
fn no_result(suite: &'static str, problem: &anyhow::Error) -> Result<Outcome> {
    println!("  {suite}: {problem:#}");
    Ok(Outcome { suite, count: Count::FAILURE, seconds: 0.0 })
}
