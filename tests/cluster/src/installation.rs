//! Which PostgreSQL to run.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The major versions that orgscope is made for.
pub const MAJORS: RangeInclusive<u32> = 15..=18;

/// An installed PostgreSQL, found by its `pg_config`.
#[derive(Clone, Debug)]
pub struct Installation {
    pg_config: PathBuf,
    bindir: PathBuf,
}

impl Installation {
    /// The one that `PG_CONFIG` names, or the newest that Debian's packages have installed, or the one on the path.
    pub fn find() -> Result<Self> {
        let pg_config = match std::env::var_os("PG_CONFIG") {
            Some(named) => PathBuf::from(named),
            None => newest_package().unwrap_or_else(|| "pg_config".into()),
        };
        let bindir = ask(&pg_config, "--bindir")?.into();
        Ok(Self { pg_config, bindir })
    }

    /// The directory where Debian's and Ubuntu's packages have the programs of a major version.
    pub fn packaged(major: u32) -> PathBuf {
        format!("/usr/lib/postgresql/{major}/bin").into()
    }

    /// The path of a server or client program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// What `pg_config` answers, for example to `--sharedir`.
    pub fn ask(&self, question: &str) -> Result<String> {
        ask(&self.pg_config, question)
    }

    /// A program that PostgreSQL tests itself with, for example `regress/pg_regress`.
    pub fn test_program(&self, name: &str) -> Result<PathBuf> {
        let makefile = PathBuf::from(self.ask("--pgxs")?);
        let pgxs = makefile.parent().and_then(Path::parent).context("pg_config --pgxs gives no usable path")?;
        Ok(pgxs.join("test").join(name))
    }

    /// The directory of the programs.
    pub fn bindir(&self) -> &Path {
        &self.bindir
    }

    /// The major version, for example 17.
    pub fn major(&self) -> Result<u32> {
        let version = self.ask("--version")?;
        major_of(&version).with_context(|| format!("pg_config calls its version \"{version}\""))
    }
}

/// The client package brings `pg_config` too, so the server tells whether a major version is there. The `pg_config` on
/// the path belongs to libpq, whose version is that of no server.
fn newest_package() -> Option<PathBuf> {
    let directories = MAJORS.rev().map(Installation::packaged);
    directories.filter(|bin| bin.join("postgres").exists()).map(|bin| bin.join("pg_config")).next()
}

/// Of `PostgreSQL 17.12 (Debian 17.12-0+deb13u1)` or `PostgreSQL 19beta1`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.strip_prefix("PostgreSQL ")?;
    number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

fn ask(pg_config: &Path, question: &str) -> Result<String> {
    let output = Command::new(pg_config).arg(question).output();
    let output = output.with_context(|| format!("cannot run {} (set PG_CONFIG)", pg_config.display()))?;
    ensure!(output.status.success(), "{} {question} failed", pg_config.display());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_its_major() {
        assert_eq!(major_of("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)"), Some(15));
        assert_eq!(major_of("PostgreSQL 18.6"), Some(18));
        assert_eq!(major_of("PostgreSQL 19beta1"), Some(19));
        assert_eq!(major_of("libpq 17"), None);
    }
}
