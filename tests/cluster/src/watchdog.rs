//! Stops the server and removes its directory when the owner is gone, however it went.
//!
//! `Drop` does not run for statics, after a signal or after `abort`. The watchdog is a small shell that waits for
//! the end of its standard input; the kernel closes our end of that pipe in every case. It runs as ourselves, not as
//! the server's account, because tests put files of their own into the directory.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// SIGQUIT is PostgreSQL's immediate shutdown; the server removes its pid file when it is down.
const SCRIPT: &str = r#"
cat > /dev/null
pid_file=$1/data/postmaster.pid
if pid=$(head -n 1 "$pid_file") && kill -QUIT "$pid"; then
    patience=200
    while [ -e "$pid_file" ] && [ $patience -gt 0 ]; do
        sleep 0.05
        patience=$((patience - 1))
    done
fi
rm -rf "$1"
"#;

pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    pub(crate) fn guard(directory: &Path) -> Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "watchdog"]).arg(directory);
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
