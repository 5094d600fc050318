//! The operating-system account that runs the servers: PostgreSQL refuses to be root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

/// Whether this process is root, and servers therefore run under another account.
pub fn we_are_root() -> bool {
    geteuid().is_root()
}

/// The account for servers; ourselves, or `postgres` when we are root.
#[derive(Clone, Debug)]
pub struct Account {
    user: User,
    switch: bool,
}

impl Account {
    /// Finds the account that servers run under.
    pub fn for_servers() -> Result<Self> {
        let switch = we_are_root();
        let user = if switch { User::from_name("postgres")? } else { User::from_uid(geteuid())? };
        let user = user.context("there is no operating-system account to run PostgreSQL under")?;
        Ok(Self { user, switch })
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        &self.user.name
    }

    /// Gives a file or directory to the account.
    pub fn take_ownership(&self, path: &Path) -> Result<()> {
        chown(path, self.uid(), self.gid())
            .with_context(|| format!("cannot give {} to {}", path.display(), self.name()))
    }

    pub(crate) fn uid(&self) -> Option<u32> {
        self.switch.then_some(self.user.uid.as_raw())
    }

    pub(crate) fn gid(&self) -> Option<u32> {
        self.switch.then_some(self.user.gid.as_raw())
    }

    /// Makes `command` run under the account.
    pub(crate) fn apply(&self, command: &mut Command) {
        if self.switch {
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw()).env("HOME", &self.user.dir);
        }
    }
}
