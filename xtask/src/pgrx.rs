//! The pinned cargo-pgrx: where it is, how it is called, and what it needs to work as root.
//!
//! The alias `cargo pgrx` (.cargo/config.toml) comes here, so `cargo pgrx test pg15` works on a machine where
//! cargo-pgrx is only in the target folder, and as root, where PostgreSQL itself refuses to run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use orgscope_cluster::{Account, Installation, we_are_root};
use tempfile::TempDir;

use crate::major::Major;
use crate::{project, step};

/// Must be the version of the pgrx crates.
pub const VERSION: &str = "0.18.1";

#[derive(clap::Args)]
pub struct Options {
    /// Passed to cargo-pgrx
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let mut command = cargo_pgrx();
    command.args(&options.arguments);
    let is_test = options.arguments.first().is_some_and(|subcommand| subcommand == "test");
    let _server = is_test.then(|| TestServer::prepare(&mut command)).transpose()?;
    let status = command.status().context("cannot run cargo-pgrx; `cargo xtask setup` installs it")?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// cargo-pgrx of this project; before setup has put it there, the one on the path, if any.
pub fn program() -> PathBuf {
    let ours = project::tools().join("bin/cargo-pgrx");
    if ours.exists() { ours } else { "cargo-pgrx".into() }
}

/// `cargo pgrx <subcommand>` in the repository's top folder.
pub fn command(subcommand: &str) -> Command {
    let mut command = cargo_pgrx();
    command.current_dir(project::root()).arg(subcommand);
    command
}

fn cargo_pgrx() -> Command {
    let mut command = Command::new(program());
    project::clean_environment(&mut command);
    // The test framework calls cargo-pgrx again, to install the extension with its tests.
    command.env("CARGO_PGRX", program()).arg("pgrx");
    command
}

/// Names the PostgreSQL to build for, and with it the features of the extension.
pub fn build_for(command: &mut Command, installation: &Installation) -> Result<()> {
    let feature = Major::numbered(installation.major()?)?.feature();
    command.arg("--pg-config").arg(installation.program("pg_config"));
    command.args(["--no-default-features", "--features"]).arg(feature);
    Ok(())
}

/// Builds the extension and installs it into the PostgreSQL in use.
pub fn install(log: &str) -> Result<step::Finished> {
    let installation = Installation::find()?;
    // A running server has the old library mapped: writing over the file would crash it, a new file leaves it alone.
    let old = Path::new(&installation.ask("--pkglibdir")?).join("orgscope.so");
    if old.exists() && we_are_root() {
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let mut install = command("install");
    build_for(install.arg("--release"), &installation)?;
    if !we_are_root() {
        install.arg("--sudo");
    }
    step::run(log, "build and install the extension (release)", &mut install)
}

/// Builds what [`install`] will then find built, beside other work. Debug builds have a folder, and so a lock, of their own.
/// What goes wrong goes wrong again, and is shown, when it is installed.
pub fn build_ahead() -> Result<step::Beside> {
    let mut package = command("package");
    build_for(&mut package, &Installation::find()?)?;
    package.arg("--out-dir").arg(project::target("ahead"));
    step::beside("build-ahead", &mut package)
}

/// What `cargo pgrx test` needs beyond its defaults; removed when dropped.
pub struct TestServer {
    _directory: Option<TempDir>,
}

impl TestServer {
    /// As root the test server runs as another account, in a directory of that account with a short path.
    pub fn prepare(command: &mut Command) -> Result<Self> {
        if !we_are_root() {
            return Ok(Self { _directory: None });
        }
        let account = Account::for_servers()?;
        let directory = tempfile::Builder::new().prefix("orgscope-").tempdir_in("/tmp")?;
        account.take_ownership(directory.path())?;
        command.env("CARGO_PGRX_TEST_RUNAS", account.name()).env("CARGO_PGRX_TEST_PGDATA", directory.path());
        Ok(Self { _directory: Some(directory) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_pgrx_and_the_pgrx_crates_have_one_version() -> Result<()> {
        let manifest = std::fs::read_to_string(project::path("Cargo.toml"))?;
        for name in ["pgrx", "pgrx-tests"] {
            assert!(manifest.contains(&format!("{name} = \"={VERSION}\"")), "{name} is not at {VERSION}");
        }
        Ok(())
    }
}
