//! orgscope beside pgaudit and pg_stat_statements, which hook into the same places: whichever is loaded first, the stories
//! and the tests of the audit show the same.

use std::path::PathBuf;

use anyhow::Result;
use orgscope_cluster::{Installation, PRELOAD};

use super::count::Count;
use super::{Outcome, golden, judge};
use crate::major::Major;
use crate::{project, setup, step};

const SUITE: &str = "pgaudit";
const ORDERS: [&str; 2] = ["pgaudit,pg_stat_statements,orgscope", "orgscope,pg_stat_statements,pgaudit"];
const EXTENSIONS: &str = "CREATE EXTENSION pgaudit; CREATE EXTENSION pg_stat_statements";
/// The first, which shows the records of both libraries, is left out by everybody else: it needs pgaudit's package.
const TESTS: [&str; 4] = ["pgaudit", "audit", "queue", "administration"];

pub fn run(major: &Major) -> Result<Outcome> {
    let library = PathBuf::from(Installation::find()?.ask("--pkglibdir")?).join("pgaudit.so");
    if !library.exists() {
        setup::require(&format!("postgresql-{}-pgaudit", major.number))?;
    }
    let mut all = Outcome { suite: SUITE, count: Count::default(), seconds: 0.0 };
    for libraries in ORDERS {
        for outcome in [golden::beside(SUITE, libraries, EXTENSIONS)?, tests(libraries)?] {
            all.count = all.count + outcome.count;
            all.seconds += outcome.seconds;
        }
    }
    Ok(all)
}

fn tests(libraries: &str) -> Result<Outcome> {
    let mut test = project::cargo();
    test.env(PRELOAD, libraries).args(["test", "--package", "orgscope-cluster", "--no-fail-fast"]);
    test.args(TESTS.iter().flat_map(|name| ["--test", name]));
    test.args(["--", "--include-ignored"]);
    let finished = step::run(SUITE, "cluster tests of the audit on such servers", &mut test)?;
    judge(SUITE, &finished, Count::of_cargo_test)
}
