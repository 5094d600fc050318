//! Where things are, and how to start cargo.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// The environment variable that names the folder of `tools`.
pub const TOOLS: &str = "ORGSCOPE_TOOLS";

/// The repository's top folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A file or folder of the repository.
pub fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// A file or folder below the target folder; everything this program makes is there.
pub fn target(relative: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| path("target"), |dir| root().join(dir));
    target.join(relative)
}

/// Where cargo-pgrx is installed. A run inside another root is given the folder of the run outside.
pub fn tools() -> PathBuf {
    std::env::var_os(TOOLS).map_or_else(|| target("tools"), PathBuf::from)
}

/// This program, to start it again. Found out once: cargo may replace the file while it runs.
pub fn this_program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(PROGRAM.get_or_init(|| program))
}

/// A program that is killed when this one ends, however that comes about.
pub fn dependent(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Cargo in the repository's top folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    clean_environment(&mut command);
    command.current_dir(root());
    command
}

/// Clears what would mislead cargo, cargo-pgrx and what they start.
pub fn clean_environment(command: &mut Command) {
    // `cargo run` tells us which package *we* are; cargo-pgrx would take that for the package to work on.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    // The libraries of xtask's own build have no place in the search path of servers and tests, and a backtrace
    // of the extension would end up in the DETAIL of its error messages.
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUST_BACKTRACE");
    // Build against the PostgreSQL that the clusters run.
    if let Some(pg_config) = std::env::var_os("PG_CONFIG") {
        command.env("PGRX_PG_CONFIG_PATH", pg_config);
    }
}
