//! The suites that cargo runs.

use anyhow::Result;

use super::count::Count;
use super::{Outcome, judge};
use crate::{pgrx, project, step};

/// The part of its name by which a `#[pg_test]` is told from a pure test.
const SERVER_TESTS: &str = "::pg_";

/// Style, pure tests, and the tests that run inside PostgreSQL.
pub fn before_install(pg: &str) -> Result<Vec<Outcome>> {
    Ok(vec![fmt()?, clippy(pg)?, pure(pg)?, tools()?, pg_test(pg)?])
}

/// Real servers, several connections; needs the extension installed.
pub fn cluster() -> Result<Outcome> {
    let mut test = project::cargo();
    test.args(["test", "--package", "orgscope-cluster", "--no-fail-fast"]);
    let finished = step::run("cluster", "cluster tests: real servers, several connections", &mut test)?;
    judge("cluster", &finished, Count::of_cargo_test)
}

fn fmt() -> Result<Outcome> {
    let mut fmt = project::cargo();
    let finished = step::run("fmt", "formatting", fmt.args(["fmt", "--all", "--check", "--", "--color", "never"]))?;
    whole("fmt", &finished)
}

fn clippy(pg: &str) -> Result<Outcome> {
    let mut clippy = project::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--no-default-features", "--features"]);
    clippy.arg(format!("orgscope/pg{pg},orgscope/pg_test")).args(["--", "--deny", "warnings"]);
    let finished = step::run("clippy", "clippy", &mut clippy)?;
    whole("clippy", &finished)
}

fn pure(pg: &str) -> Result<Outcome> {
    let mut test = project::cargo();
    test.args(["test", "--no-fail-fast", "--no-default-features", "--features"]).arg(format!("pg{pg}"));
    test.args(["--", "--skip", SERVER_TESTS]);
    let finished = step::run("pure", "pure tests: no server", &mut test)?;
    judge("pure", &finished, Count::of_cargo_test)
}

fn tools() -> Result<Outcome> {
    let mut test = project::cargo();
    let finished = step::run("xtask", "tests of xtask itself", test.args(["test", "--package", "xtask"]))?;
    judge("xtask", &finished, Count::of_cargo_test)
}

fn pg_test(pg: &str) -> Result<Outcome> {
    let mut test = pgrx::command("test");
    test.arg(format!("pg{pg}")).arg(SERVER_TESTS);
    let _server = pgrx::TestServer::prepare(&mut test)?;
    let finished = step::run("pg_test", "cargo pgrx test: inside PostgreSQL", &mut test)?;
    judge("pg_test", &finished, Count::of_cargo_test)
}

fn whole(suite: &'static str, finished: &step::Finished) -> Result<Outcome> {
    if !finished.success {
        finished.print_tail()?;
    }
    Ok(Outcome { suite, count: Count::whole(finished.success), seconds: finished.seconds })
}
