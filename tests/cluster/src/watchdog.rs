//! Stops the server and removes its directory when the owner is gone, however it went.
//!
//! `Drop` does not run for statics, after a signal or after `abort`. The watchdog is a small shell that waits for
//! the end of its standard input; the kernel closes our end of that pipe in every case.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::{Account, Installation};

const SCRIPT: &str = r#"
cat > /dev/null
"$1" stop --pgdata "$2/data" --mode immediate --silent --wait
rm -rf "$2"
"#;

pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    pub(crate) fn guard(directory: &Path, installation: &Installation, account: &Account) -> Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "watchdog"]).arg(installation.program("pg_ctl")).arg(directory);
        account.apply(&mut shell);
        // A group of its own: Ctrl-C in the terminal must end the owner, not the watchdog.
        shell.process_group(0).current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let shell = shell.spawn().context("cannot start the shell that will stop the server")?;
        Ok(Self { shell })
    }

    /// Leaves server and directory alone.
    pub(crate) fn dismiss(mut self) -> Result<()> {
        self.shell.kill().context("cannot stop the watchdog")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nobody is left to tell; `wait` fails only when the shell is already gone.
        let _ = self.shell.wait();
    }
}
