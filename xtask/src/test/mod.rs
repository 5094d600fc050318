//! `cargo xtask test`: every suite, one table, one last line.

mod count;
mod golden;
mod suites;

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use comfy_table::{CellAlignment, Table, presets};

use crate::{pgrx, setup, step};
use count::Count;

#[derive(clap::Args)]
pub struct Options {
    /// PostgreSQL major version
    #[arg(long, default_value = "15", value_parser = PossibleValuesParser::new(["15"]))]
    pg: String,
    /// Take the golden tests' results as the expected ones; review the difference before committing it
    #[arg(long)]
    accept: bool,
}

/// What one suite did.
pub struct Outcome {
    suite: &'static str,
    count: Count,
    seconds: f64,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    setup::run()?;
    let mut outcomes = suites::before_install(&options.pg)?;
    // `cargo pgrx test` has installed its own build, with the tests inside; the rest runs what users get.
    let install = pgrx::install("install")?;
    if install.success {
        outcomes.extend(golden::run(options.accept)?);
        outcomes.push(suites::cluster()?);
    } else {
        install.print_tail()?;
        outcomes.push(Outcome { suite: "install", count: Count::FAILURE, seconds: install.seconds });
    }
    let total = outcomes.iter().fold(Count::default(), |sum, outcome| sum + outcome.count);
    println!("\n{}\n\n{total}", table(&outcomes));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Judges a finished step by what it printed; names the tests that failed and shows the end of the output.
fn judge(suite: &'static str, finished: &step::Finished, read: fn(&str) -> Count) -> Result<Outcome> {
    let output = finished.output()?;
    let mut count = read(&output);
    if !finished.success && count.failed == 0 {
        // It did not come to the point of counting: a build error, or a server that did not start.
        count.failed = 1;
    }
    if count.failed > 0 {
        finished.print_tail()?;
        let verdicts = output.lines().filter(|line| line.starts_with("test ") && line.contains(" ... FAILED"));
        verdicts.for_each(|line| println!("    {line}"));
    }
    Ok(Outcome { suite, count, seconds: finished.seconds })
}

fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["suite", "passed", "failed", "seconds"]);
    for Outcome { suite, count, seconds } in outcomes {
        table.add_row([
            (*suite).to_owned(),
            count.passed.to_string(),
            count.failed.to_string(),
            format!("{seconds:.1}"),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
