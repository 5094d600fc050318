//! The table over all suites and major versions, and the last line.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

use super::count::Count;

/// What one suite did, in a run of this program.
#[derive(Deserialize)]
pub struct Recorded {
    suite: String,
    count: Count,
    seconds: f64,
}

/// What the suites did on one major version.
pub struct Run {
    major: u32,
    suites: Vec<Recorded>,
    duration: Duration,
    /// Why there are no results.
    problem: Option<String>,
}

impl Run {
    /// No results at all count as one failure.
    pub fn new(major: u32, results: Result<Vec<Recorded>>, duration: Duration) -> Self {
        match results {
            Ok(suites) => Self { major, suites, duration, problem: None },
            Err(error) => Self { major, suites: Vec::new(), duration, problem: Some(format!("{error:#}")) },
        }
    }

    fn count(&self) -> Count {
        match self.problem {
            Some(_) => Count::FAILURE,
            None => self.suites.iter().map(|suite| suite.count).sum(),
        }
    }

    fn cells(&self, suite: &str) -> [String; 3] {
        let found = self.suites.iter().find(|recorded| recorded.suite == suite);
        found.map_or_else(Default::default, |found| cells(found.count, found.seconds))
    }
}

/// Prints everything; the closing line stands alone at the end.
pub fn print(runs: &[Run]) -> Count {
    println!("\n{}\n", table(runs));
    for run in runs {
        if let Some(problem) = &run.problem {
            println!("PostgreSQL {} was not tested: {problem}\n", run.major);
        }
    }
    let total = runs.iter().map(Run::count).sum();
    println!("{total}");
    total
}

fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    let headings = runs.iter().flat_map(|run| [format!("{} passed", run.major), "failed".into(), "seconds".into()]);
    table.load_preset(presets::ASCII_MARKDOWN).set_header(std::iter::once("suite".into()).chain(headings));
    for suite in suites(runs) {
        table.add_row(row(suite, runs.iter().map(|run| run.cells(suite))));
    }
    table.add_row(row("total", runs.iter().map(|run| cells(run.count(), run.duration.as_secs_f64()))));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// In the order in which they ran.
fn suites(runs: &[Run]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for recorded in runs.iter().flat_map(|run| &run.suites) {
        if !names.contains(&recorded.suite.as_str()) {
            names.push(&recorded.suite);
        }
    }
    names
}

fn row(name: &str, cells: impl Iterator<Item = [String; 3]>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells.flatten()).collect()
}

fn cells(count: Count, seconds: f64) -> [String; 3] {
    [count.passed.to_string(), count.failed.to_string(), format!("{seconds:.1}")]
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::test::Outcome;

    fn recorded(outcomes: &[Outcome]) -> Result<Vec<Recorded>> {
        Ok(serde_json::from_slice(&serde_json::to_vec(outcomes)?)?)
    }

    fn outcome(suite: &'static str, passed: usize, failed: usize, seconds: f64) -> Outcome {
        Outcome { suite, count: Count { passed, failed }, seconds }
    }

    #[test]
    fn majors_stand_side_by_side() {
        let first = recorded(&[outcome("fmt", 1, 0, 0.25), outcome("cluster", 69, 0, 41.5)]);
        let second = recorded(&[outcome("cluster", 68, 1, 40.0)]);
        let third = Err(anyhow!("no network"));
        let runs = [
            Run::new(15, first, Duration::from_secs(42)),
            Run::new(17, second, Duration::from_millis(40_500)),
            Run::new(18, third, Duration::from_secs(1)),
        ];
        let expected = "\
            | suite   | 15 passed | failed | seconds | 17 passed | failed | seconds | 18 passed | failed | seconds |\n\
            |---------|-----------|--------|---------|-----------|--------|---------|-----------|--------|---------|\n\
            | fmt     |         1 |      0 |     0.2 |           |        |         |           |        |         |\n\
            | cluster |        69 |      0 |    41.5 |        68 |      1 |    40.0 |           |        |         |\n\
            | total   |        70 |      0 |    42.0 |        68 |      1 |    40.5 |         0 |      1 |     1.0 |";
        assert_eq!(table(&runs).to_string(), expected);
    }
}
