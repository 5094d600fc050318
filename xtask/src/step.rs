//! One step of a command: say what is done, keep long output in a log, show its end when it fails.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::project;

/// How many lines of a failed step's log are shown.
const TAIL_LINES: usize = 40;

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
            self.print_tail()?;
            bail!("this step failed, and the rest needs it");
        }
        Ok(self)
    }

    /// Prints the end of the log, for a step that failed.
    pub fn print_tail(&self) -> Result<()> {
        let output = self.output()?;
        let lines: Vec<&str> = output.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            println!("    {line}");
        }
        println!("    (all of it: {})", self.log.display());
        Ok(())
    }
}

/// Runs a command with its output in `target/logs/<name>.log`.
pub fn run(name: &str, what: &str, command: &mut Command) -> Result<Finished> {
    let log = log_path(name)?;
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let progress = Progress::start(what);
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    let seconds = progress.finish(status.success());
    Ok(Finished { success: status.success(), seconds, log })
}

/// Shows progress while a closure works.
pub fn work<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let progress = Progress::start(what);
    let result = work();
    progress.finish(result.is_ok());
    result
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
