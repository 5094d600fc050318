//! Which PostgreSQL to run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where Debian and Ubuntu put it. Their `pg_config` on the path answers for the newest version installed, whichever
/// that is.
const DEBIAN: &str = "/usr/lib/postgresql/15/bin/pg_config";

/// An installed PostgreSQL, found by its `pg_config`.
#[derive(Clone, Debug)]
pub struct Installation {
    pg_config: PathBuf,
    bindir: PathBuf,
}

impl Installation {
    /// The one that `PG_CONFIG` names, or Debian's PostgreSQL 15, or the one on the path.
    pub fn find() -> Result<Self> {
        let pg_config = match std::env::var_os("PG_CONFIG") {
            Some(named) => PathBuf::from(named),
            None if Path::new(DEBIAN).exists() => DEBIAN.into(),
            None => "pg_config".into(),
        };
        let bindir = ask(&pg_config, "--bindir")?.into();
        Ok(Self { pg_config, bindir })
    }

    /// The path of a server or client program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// What `pg_config` answers, for example to `--sharedir`.
    pub fn ask(&self, question: &str) -> Result<String> {
        ask(&self.pg_config, question)
    }

    /// The directory of the programs.
    pub fn bindir(&self) -> &Path {
        &self.bindir
    }
}

fn ask(pg_config: &Path, question: &str) -> Result<String> {
    let output = Command::new(pg_config).arg(question).output();
    let output = output.with_context(|| format!("cannot run {} (set PG_CONFIG)", pg_config.display()))?;
    ensure!(output.status.success(), "{} {question} failed", pg_config.display());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
