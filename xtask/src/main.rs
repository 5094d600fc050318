//! The project's own commands: `cargo xtask <command>`.

mod bench;
mod demo;
mod major;
mod package;
mod pgrx;
mod project;
mod python;
mod root;
mod setup;
mod step;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Prepare, show, test, measure and package orgscope")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: apt packages, cargo-pgrx
    Setup(setup::Options),
    /// Tell the story on a throwaway cluster, then run a real Django application on it
    Demo(demo::Options),
    /// Run every test suite; the last line is `N passed, N failed`
    Test(test::Options),
    #[command(hide = true)]
    TestMajor(test::MajorOptions),
    #[command(hide = true)]
    BuildMajor(test::BuildOptions),
    #[command(hide = true)]
    PoolerClient(test::PoolerClientOptions),
    /// Measure orgscope beside a plain table and hand-written policies
    Bench(bench::Options),
    /// Build the installable file tree
    Package,
    /// Run the pinned cargo-pgrx (what `cargo pgrx` means in this project)
    Pgrx(pgrx::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup(options) => options.run(),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => return test::run(&options),
        Command::TestMajor(options) => test::run_major(&options),
        Command::BuildMajor(options) => test::build_where_it_is(&options),
        Command::PoolerClient(options) => test::run_pooler_client(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Package => package::run(),
        Command::Pgrx(options) => return pgrx::run(&options),
    }
    .map(|()| ExitCode::SUCCESS)
}
