//! The major versions of PostgreSQL that orgscope supports, and where each is found.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use orgscope_cluster::Installation;

pub struct Major {
    pub number: u32,
    /// The Debian release that ships it.
    pub debian: Option<&'static str>,
}

pub static SUPPORTED: [Major; 4] = [
    Major { number: 15, debian: Some("bookworm") },
    Major { number: 16, debian: None },
    Major { number: 17, debian: Some("trixie") },
    Major { number: 18, debian: Some("forky") },
];

impl Major {
    pub fn numbered(number: u32) -> Result<&'static Self> {
        let known = SUPPORTED.iter().find(|major| major.number == number);
        known.with_context(|| format!("orgscope does not support PostgreSQL {number}"))
    }

    /// What this machine runs, or would run: the one that is installed, else the newest that can be.
    pub fn of_this_machine() -> Result<&'static Self> {
        if let Ok(number) = Installation::find().and_then(|installation| installation.major())
            && let Ok(major) = Self::numbered(number)
        {
            return Ok(major);
        }
        let offered = SUPPORTED.iter().rev().find(|major| major.is_offered());
        offered.context("this machine has no PostgreSQL that orgscope supports, and its packages offer none")
    }

    /// The `pg_config` of this major if the machine has it, or where it will be once its packages are installed.
    /// Nothing if they do not offer it.
    pub fn pg_config_here(&self) -> Option<PathBuf> {
        let is_this = |found: &Installation| found.major().is_ok_and(|number| number == self.number);
        if let Some(found) = Installation::find().ok().filter(is_this) {
            return Some(found.program("pg_config"));
        }
        (self.is_packaged() || self.is_offered()).then(|| self.packaged_pg_config())
    }

    /// Whether Debian's packages have put its server here.
    fn is_packaged(&self) -> bool {
        Installation::packaged(self.number).join("postgres").exists()
    }

    pub fn packaged_pg_config(&self) -> PathBuf {
        Installation::packaged(self.number).join("pg_config")
    }

    /// Whether its packages can be installed here. On a new machine apt knows no packages yet, but its release does.
    fn is_offered(&self) -> bool {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        self.debian.is_some_and(|debian| codename(&release) == Some(debian)) || self.apt_has_a_candidate()
    }

    fn apt_has_a_candidate(&self) -> bool {
        let mut policy = Command::new("apt-cache");
        policy.args(["policy", &format!("postgresql-{}", self.number)]).env("LC_ALL", "C");
        policy.output().is_ok_and(|output| has_candidate(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The cargo feature of the extension, which is also its name in pgrx's settings.
    pub fn feature(&self) -> String {
        format!("pg{}", self.number)
    }
}

fn codename(os_release: &str) -> Option<&str> {
    os_release.lines().find_map(|line| Some(line.strip_prefix("VERSION_CODENAME=")?.trim_matches('"')))
}

/// Apt prints nothing for a package it has never heard of, and `(none)` for one that it cannot install.
fn has_candidate(policy: &str) -> bool {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.is_some_and(|version| version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_major_is_known() {
        let known: Vec<u32> = SUPPORTED.iter().map(|major| major.number).collect();
        assert_eq!(known, orgscope_cluster::MAJORS.collect::<Vec<_>>());
    }

    #[test]
    fn apt_says_whether_it_has_a_package() {
        let installed =
            "postgresql-15:\n  Installed: 15.20-0+deb12u1\n  Candidate: 15.20-0+deb12u1\n  Version table:\n";
        assert!(has_candidate(installed));
        assert!(!has_candidate("postgresql-17:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"));
        assert!(!has_candidate(""));
    }

    #[test]
    fn a_release_has_a_name() {
        assert_eq!(codename("NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n"), Some("noble"));
        assert_eq!(codename("PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\n"), None);
    }
}
