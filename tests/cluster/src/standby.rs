//! A second server that follows a first one.

use std::fs;

use anyhow::Result;

use crate::{Cluster, Options, SUPERUSER, finish, server_directory, watchdog::Watchdog};

impl Cluster {
    /// A streaming hot standby of this cluster, made of a base backup. The options are its own.
    pub fn standby(&self, options: &Options) -> Result<Self> {
        let (installation, account) = (self.installation.clone(), self.account.clone());
        let directory = server_directory(&account)?;
        let watchdog = Watchdog::guard(&directory)?;
        let mut standby = Self { directory, port: 0, installation, account, watchdog };
        let data = standby.directory.join("data");
        let mut backup = standby.server_program("pg_basebackup");
        self.aim(&mut backup);
        finish(backup.arg("--pgdata").arg(&data).args(["--checkpoint=fast", "--wal-method=stream", "--no-sync"]))?;
        fs::write(data.join("standby.signal"), "")?;
        standby.account.take_ownership(&data.join("standby.signal"))?;
        let primary = format!("primary_conninfo = 'host=127.0.0.1 port={} user={SUPERUSER}'", self.port);
        standby.start_on_free_port(&options.clone().line(&primary))?;
        Ok(standby)
    }

    /// Makes a standby a server of its own; returns when it takes writes.
    pub fn promote(&self) -> Result<()> {
        self.pg_ctl(&["promote"])
    }
}
