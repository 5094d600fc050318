//! One step of a command: say what is done, keep long output in a log, show its end when it fails.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::project;

/// How many lines of a failed step's log are shown.
const TAIL_LINES: usize = 40;
/// And of each panic in it.
const PANIC_LINES: usize = 20;

/// What a finished command left.
pub struct Finished {
    pub success: bool,
    pub seconds: f64,
    log: PathBuf,
}

impl Finished {
    /// Everything the command wrote.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// For a step that has to succeed for anything after it to make sense.
    pub fn required(self) -> Result<Self> {
        if !self.success {
            self.print_failure()?;
            bail!("this step failed, and the rest needs it");
        }
        Ok(self)
    }

    /// Prints what of the log says why, for a step that failed: what its tests panicked with, and its end.
    pub fn print_failure(&self) -> Result<()> {
        let output = self.output()?;
        let lines: Vec<&str> = output.lines().collect();
        let end = lines.len().saturating_sub(TAIL_LINES);
        for line in panics(&lines[..end]).chain(&lines[end..]) {
            println!("    {line}");
        }
        println!("    (all of it: {})", self.log.display());
        Ok(())
    }
}

/// The messages of panics, which stand far above the end where many tests follow.
fn panics<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a &'a str> {
    let mut left = 0;
    lines.iter().filter(move |line| {
        if line.contains(" panicked at ") {
            left = PANIC_LINES;
        } else if line.starts_with("note: run with") {
            left = 0;
        }
        let shown = left > 0;
        left = left.saturating_sub(1);
        shown
    })
}

/// Runs a command with its output in `target/logs/<name>.log`.
pub fn run(name: &str, what: &str, command: &mut Command) -> Result<Finished> {
    beside(name, command)?.wait(what)
}

/// A command that goes on beside other work, with its output in a log. Its end is waited for, also when this is dropped.
pub struct Beside {
    child: Child,
    log: PathBuf,
}

pub fn beside(name: &str, command: &mut Command) -> Result<Beside> {
    let (log, file) = (log_path(name)?, log(name)?);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    Ok(Beside { child, log })
}

impl Beside {
    /// Shows progress until it is over.
    pub fn wait(mut self, what: &str) -> Result<Finished> {
        let progress = Progress::start(what);
        let status = self.child.wait().context("cannot wait for a command")?;
        let seconds = progress.finish(status.success());
        Ok(Finished { success: status.success(), seconds, log: self.log.clone() })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.wait();
    }
}

/// Shows progress while a closure works.
pub fn work<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let progress = Progress::start(what);
    let result = work();
    progress.finish(result.is_ok());
    result
}

/// `target/logs/<name>.log`, begun anew.
fn log(name: &str) -> Result<File> {
    let path = log_path(name)?;
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))
}

fn log_path(name: &str) -> Result<PathBuf> {
    let folder = project::target("logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(format!("{name}.log")))
}

/// A spinner with the elapsed time on a terminal; elsewhere a line that begins before the work does.
struct Progress {
    what: String,
    started: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    fn start(what: &str) -> Self {
        let spinner = std::io::stdout().is_terminal().then(|| spinner(what));
        if spinner.is_none() {
            print!("  {what} ... ");
            // Only a hint for whoever watches; a closed output shows up in the next line that is printed.
            let _ = std::io::stdout().flush();
        }
        Self { what: what.to_owned(), started: Instant::now(), spinner }
    }

    fn finish(self, success: bool) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
            print!("  {} ... ", self.what);
        }
        println!("{} ({seconds:.1} s)", if success { "ok" } else { "FAILED" });
        seconds
    }
}

fn spinner(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}");
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_panicked_with_is_found_above_the_end() {
        let lines =
            "test a ... ok\nthread 'b' panicked at b.rs:1:5:\nseed 7\nnote: run with `RUST_BACKTRACE=1`\ntest c ... ok";
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(panics(&lines).copied().collect::<Vec<_>>(), ["thread 'b' panicked at b.rs:1:5:", "seed 7"]);
    }
}
