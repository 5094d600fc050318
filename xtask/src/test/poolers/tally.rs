//! What clients have done, and what they got that they should not.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// As many are kept in words; the rest is counted.
const KEPT: usize = 5;

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub transactions: u64,
    pub rows: u64,
    /// Expected ones, by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
    /// Rows of another organization.
    pub foreign: u64,
    /// Answers other than the expected one, those with foreign rows among them.
    pub wrong: u64,
    pub examples: Vec<String>,
}

impl Tally {
    pub fn refused(&mut self, sqlstate: &str) {
        *self.errors.entry(sqlstate.to_owned()).or_default() += 1;
    }

    pub fn wrong(&mut self, case: &str, what: &str) {
        self.wrong += 1;
        if self.examples.len() < KEPT {
            self.examples.push(format!("{case}: {what}"));
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.rows += other.rows;
        self.foreign += other.foreign;
        self.wrong += other.wrong;
        for (sqlstate, count) in &other.errors {
            *self.errors.entry(sqlstate.clone()).or_default() += count;
        }
        let room = KEPT.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} transactions, {} rows", self.transactions, self.rows)?;
        self.errors.iter().try_for_each(|(sqlstate, count)| write!(formatter, ", {count} {sqlstate}"))?;
        write!(formatter, "; {} wrong answers, {} foreign rows", self.wrong, self.foreign)?;
        self.examples.iter().try_for_each(|example| write!(formatter, "\n      {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_have_done_adds_up() {
        let mut one = Tally { transactions: 2, ..Tally::default() };
        one.refused("OS001");
        let mut other = Tally { transactions: 3, foreign: 1, ..Tally::default() };
        other.refused("OS001");
        (0..9).for_each(|_| other.wrong("case", "what"));
        one.add(&other);
        assert_eq!((one.transactions, one.foreign, one.wrong, one.errors["OS001"]), (5, 1, 9, 2));
        assert_eq!(one.examples.len(), KEPT);
    }
}
