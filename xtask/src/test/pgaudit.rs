//! orgscope beside pgaudit and pg_stat_statements, which hook into the same places: whichever is loaded first, the stories
//! and the tests of the audit show the same.

use anyhow::Result;
use orgscope_cluster::PRELOAD;

use super::count::Count;
use super::{Outcome, golden, judge};
use crate::{project, step};

const SUITE: &str = "pgaudit";
const ORDERS: [&str; 2] = ["pgaudit,pg_stat_statements,orgscope", "orgscope,pg_stat_statements,pgaudit"];
const EXTENSIONS: &str = "CREATE EXTENSION pgaudit; CREATE EXTENSION pg_stat_statements";
const TESTS: [&str; 3] = ["audit", "queue", "administration"];

pub fn run() -> Result<Outcome> {
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
    let finished = step::run(SUITE, "cluster tests of the audit on such servers", &mut test)?;
    judge(SUITE, &finished, Count::of_cargo_test)
}
