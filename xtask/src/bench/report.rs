//! Medians over the rounds, and ratios to the plain table.

use std::collections::HashMap;

use comfy_table::{CellAlignment, Table, presets};

use super::case::{CASES, Case};
use super::variant::{VARIANTS, Variant};

/// How much slower a hand-written `current_setting` policy must be than orgscope in the first case.
const HANDWRITTEN_SCAN_TARGET: f64 = 4.0;

/// Microseconds by case and variant, one entry a round.
#[derive(Default)]
pub struct Results(HashMap<(usize, &'static str), Vec<f64>>);

impl Results {
    pub fn add(&mut self, case: usize, variant: Variant, microseconds: f64) {
        self.0.entry((case, variant.heading())).or_default().push(microseconds);
    }

    pub fn print(&self) {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["case"].into_iter().chain(VARIANTS.map(Variant::heading)).chain(["target"]));
        for (number, case) in CASES.iter().enumerate().filter(|(number, _)| self.has(*number)) {
            let cells = VARIANTS.map(|variant| self.cell(number, variant));
            table.add_row([case.name.to_owned()].into_iter().chain(cells).chain([self.verdict(number, case)]));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{table}\n");
        if self.has(0) {
            self.print_scan_verdict();
        }
    }

    fn print_scan_verdict(&self) {
        let slower = self.ratio(0, Variant::Setting, Variant::Orgscope);
        let verdict = if slower >= HANDWRITTEN_SCAN_TARGET { "reached" } else { "MISSED" };
        println!(
            "Full scan: the current_setting policy takes {slower:.1} times as long as orgscope \
             (target: at least {HANDWRITTEN_SCAN_TARGET}, {verdict})."
        );
    }

    fn has(&self, case: usize) -> bool {
        !self.times(case, Variant::Plain).is_empty()
    }

    fn cell(&self, case: usize, variant: Variant) -> String {
        let time = show(median(self.times(case, variant)));
        if variant == Variant::Plain {
            return time;
        }
        format!("{time} ({:.2})", self.ratio(case, variant, Variant::Plain))
    }

    fn verdict(&self, number: usize, case: &Case) -> String {
        let Some(target) = case.target else {
            return String::new();
        };
        let reached = self.ratio(number, Variant::Orgscope, Variant::Plain) <= target;
        format!("≤ {target:.2} {}", if reached { "reached" } else { "MISSED" })
    }

    /// The median of the ratios within each round: what slows the machine down for a while slows both.
    fn ratio(&self, case: usize, variant: Variant, base: Variant) -> f64 {
        let pairs = self.times(case, variant).iter().zip(self.times(case, base));
        median(&pairs.map(|(time, base)| time / base).collect::<Vec<_>>())
    }

    fn times(&self, case: usize, variant: Variant) -> &[f64] {
        self.0.get(&(case, variant.heading())).map_or(&[], Vec::as_slice)
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

fn show(microseconds: f64) -> String {
    if microseconds < 1000.0 { format!("{microseconds:.1} µs") } else { format!("{:.1} ms", microseconds / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut results = Results::default();
        // The machine was ten times slower in the second round.
        for (plain, orgscope) in [(100.0, 110.0), (1000.0, 1100.0), (100.0, 110.0)] {
            results.add(0, Variant::Plain, plain);
            results.add(0, Variant::Orgscope, orgscope);
        }
        assert!((results.ratio(0, Variant::Orgscope, Variant::Plain) - 1.1).abs() < 1e-9);
    }
}
