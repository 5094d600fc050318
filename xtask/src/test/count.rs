//! Reads how many tests passed and failed out of what test programs print.

use std::fmt;
use std::ops::Add;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
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

    /// Counts the `test NAME ... ok` lines of pg_regress and pg_isolation_regress.
    pub fn of_pg_regress(output: &str) -> Self {
        let verdicts = output.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
        verdicts.map(|(_, verdict)| Self::whole(verdict.trim_start().starts_with("ok"))).sum()
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

    #[test]
    fn pg_regress_counts_each_test() {
        let output = "\
            ============== running regression test queries        ==============\n\
            test setup                        ... ok           34 ms\n\
            test story                        ... FAILED       12 ms\n\
            test audit                        ... FAILED (test process exited with exit code 2)       12 ms\n\
            \n 2 of 3 tests failed.\n";
        assert_eq!(Count::of_pg_regress(output), Count { passed: 1, failed: 2 });
    }

    #[test]
    fn the_last_line_reads_as_promised() {
        assert_eq!(Count { passed: 7, failed: 0 }.to_string(), "7 passed, 0 failed");
    }
}
