//! Reads how many tests passed and failed out of what test programs print.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub passed: usize,
    pub failed: usize,
}

impl Count {
    pub const SUCCESS: Self = Self { passed: 1, failed: 0 };
    pub const FAILURE: Self = Self { passed: 0, failed: 1 };

    /// For a check that has no tests inside: its exit status is the one result.
    pub fn whole(success: bool) -> Self {
        if success { Self::SUCCESS } else { Self::FAILURE }
    }

    /// Sums the `test result:` lines of `cargo test`.
    pub fn of_cargo_test(output: &str) -> Self {
        let results = output.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
        results
            .map(|line| Self { passed: number_before(line, " passed"), failed: number_before(line, " failed") })
            .sum()
    }

    /// Counts the verdicts of pg_regress and pg_isolation_regress.
    pub fn of_pg_regress(output: &str) -> Self {
        output.lines().filter_map(verdict).map(Self::whole).sum()
    }
}

/// Whether a line says that one test has failed.
pub fn names_a_failure(line: &str) -> bool {
    verdict(line) == Some(false)
}

/// What a line says of one test: `test NAME ... ok` (cargo, and pg_regress before PostgreSQL 16, where tests of a
/// parallel group are indented instead), or `ok 1 - NAME` since.
fn verdict(line: &str) -> Option<bool> {
    if line.starts_with("ok ") {
        return Some(true);
    }
    if line.starts_with("not ok ") {
        return Some(false);
    }
    let (name, verdict) = line.split_once(" ... ")?;
    if !name.starts_with("test ") && !name.starts_with("     ") {
        return None;
    }
    match verdict.split_whitespace().next()? {
        "ok" => Some(true),
        "FAILED" => Some(false),
        _ => None,
    }
}

fn number_before(line: &str, word: &str) -> usize {
    let number = line.split_once(word).and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    number.unwrap_or(0)
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Self::add)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_sums_all_binaries() {
        let output = "\
            test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
            noise\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Count::of_cargo_test(output), Count { passed: 15, failed: 2 });
    }

    #[test]
    fn a_build_error_counts_nothing() {
        assert_eq!(Count::of_cargo_test("error[E0425]: cannot find value"), Count::default());
    }

    /// What PostgreSQL 15 prints.
    #[test]
    fn pg_regress_counts_each_test() {
        let output = "\
            (using postmaster on /tmp, port 5999)\n\
            ============== running regression test queries        ==============\n\
            test setup                        ... ok           57 ms\n\
            parallel group (3 tests):  story a quit\n\
            \x20    story                        ... FAILED       70 ms\n\
            \x20    a                            ... ok           76 ms\n\
            \x20    quit                         ... FAILED (test process exited with exit code 2)       76 ms\n\
            \n\
            ======================\n\
            \x202 of 4 tests failed. \n\
            ======================\n";
        assert_eq!(Count::of_pg_regress(output), Count { passed: 2, failed: 2 });
    }

    /// What PostgreSQL 17 and 18 print.
    #[test]
    fn pg_regress_counts_each_tap_line() {
        let output = "\
            # using postmaster on /tmp, port 5999\n\
            ok 1         - setup                                       9 ms\n\
            # parallel group (3 tests):  a quit story\n\
            not ok 2     + story                                      11 ms\n\
            ok 3         + a                                           8 ms\n\
            not ok 4     + quit                                       10 ms\n\
            # (test process exited with exit code 2)\n\
            1..4\n\
            # 2 of 4 tests failed.\n\
            # The differences that caused some tests to fail can be viewed in the file \"/tmp/o/regression.diffs\".\n";
        assert_eq!(Count::of_pg_regress(output), Count { passed: 2, failed: 2 });
    }

    #[test]
    fn a_failure_is_named_by_its_line() {
        for line in
            ["test audit::pg_records ... FAILED", "not ok 2     - story   11 ms", "     story   ... FAILED  70 ms"]
        {
            assert!(names_a_failure(line), "{line}");
        }
        for line in ["test audit::pg_records ... ok", "ok 1     - setup   9 ms", "not okay", "# 2 of 4 tests failed."] {
            assert!(!names_a_failure(line), "{line}");
        }
    }

    #[test]
    fn the_last_line_reads_as_promised() {
        assert_eq!(Count { passed: 7, failed: 0 }.to_string(), "7 passed, 0 failed");
    }
}
