//! The suites on one PostgreSQL: what `cargo xtask test` starts for each major version.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::count::Count;
use super::{Outcome, Shared, golden, postgres, schemas, suites};
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
    #[command(flatten)]
    shared: Shared,
}

pub fn run(options: &Options) -> Result<()> {
    let major = Major::numbered(options.pg)?;
    setup::run_for(major)?;
    let first = ["fmt", "xtask", "pg16", "schemas"];
    let wants = |suite: &str| options.shared.wants(suite) && (options.first || !first.contains(&suite));
    let mut outcomes = suites::before_install(major, &wants, options.first)?;
    // `cargo pgrx test` has installed its own build, with the tests inside; the rest runs what users get.
    if ["golden", "cluster", "schemas", "postgres"].into_iter().any(&wants) {
        let install = pgrx::install("install")?;
        if install.success {
            outcomes.extend(after_install(major, &wants, options.shared.accept)?);
        } else {
            install.print_failure()?;
            outcomes.push(Outcome { suite: "install", count: Count::FAILURE, seconds: install.seconds });
        }
    }
    let file = &options.outcomes;
    fs::write(file, serde_json::to_vec(&outcomes)?).with_context(|| format!("cannot write {}", file.display()))
}

fn after_install(major: &Major, wants: &impl Fn(&str) -> bool, accept: bool) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    if wants("golden") {
        outcomes.extend(golden::run(accept)?);
    }
    if wants("cluster") {
        outcomes.push(suites::cluster(major)?);
    }
    if wants("schemas") {
        outcomes.push(schemas::run().or_else(|problem| no_result("schemas", &problem))?);
    }
    if wants("postgres") {
        outcomes.push(postgres::run().or_else(|problem| no_result("postgres", &problem))?);
    }
    Ok(outcomes)
}

/// A suite that could not be run is a failure, and the others' results still count.
fn no_result(suite: &'static str, problem: &anyhow::Error) -> Result<Outcome> {
    println!("  {suite}: {problem:#}");
    Ok(Outcome { suite, count: Count::FAILURE, seconds: 0.0 })
}
