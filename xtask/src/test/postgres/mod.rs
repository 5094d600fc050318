//! PostgreSQL's own regression suite, on a server where orgscope is preloaded and created in template1: who does not
//! scope a table must not notice it.
//!
//! A test passes as PostgreSQL says, or when it deviates exactly as recorded in `tests/postgres`.

mod apt;
mod output;
mod records;
mod run;
mod source;

use std::fs;

use anyhow::Result;
use orgscope_cluster::{Cluster, Installation, Options, SUPERUSER};

use super::Outcome;
use crate::{project, step};
use records::Records;
use run::Workspace;
use source::Installed;

pub fn run() -> Result<Outcome> {
    let installation = Installation::find()?;
    let installed = Installed::find(&installation)?;
    let suite = installed.suite()?;
    let cluster = step::work("start a cluster for PostgreSQL's own tests", || {
        let cluster = Cluster::start(&configured(Options::default()))?;
        cluster.connect(SUPERUSER, "template1")?.batch_execute("CREATE EXTENSION orgscope")?;
        Ok(cluster)
    })?;
    let workspace = Workspace::new(&suite.folder, cluster.scratch_directory("suite")?, &installation)?;
    let mut seconds = 0.0;
    if !suite.exact {
        seconds += learn(&workspace)?;
    }
    let results = workspace.run(&cluster, "postgres", "PostgreSQL's own tests, with orgscope")?;
    // Where to look when a server process died: the cluster's directory goes with it.
    fs::copy(cluster.log_path(), project::target("logs/postgres-server.log"))?;
    let count = Records::read(&installed.major)?.judge(&results)?;
    Ok(Outcome { suite: "postgres", count, seconds: seconds + results.seconds })
}

/// As PostgreSQL configures the server for its own tests.
fn configured(options: Options) -> Options {
    options.line("max_prepared_transactions = 2")
}

/// The tests of another minor version expect in places what the installed one does not print. There a server without
/// orgscope says what to expect.
fn learn(workspace: &Workspace) -> Result<f64> {
    let cluster = Cluster::start(&configured(Options::without_preload()))?;
    let what = "the same without orgscope, for what has changed since that version";
    let results = workspace.run(&cluster, "postgres-plain", what)?;
    workspace.expect(&results)?;
    let failed: Vec<&str> = results.failed().collect();
    println!("  changed since that version, compared with the server without orgscope: {}", failed.join(", "));
    Ok(results.seconds)
}
