//! How a program runs inside a root.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::project;

/// Where a Debian has its programs.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shell is process 1 in there, which has to collect the servers and watchdogs that lose their parent: it waits for
/// the program instead of becoming it.
const ENTER: &str = r#"
set -e
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    shift
done
shift
status=0
chroot "$root" "$@" || status=$?
exit $status
"#;

/// A command in namespaces of its own for mounts, processes and shared memory. All of it ends with this process.
pub fn isolated(program: &str) -> Command {
    let mut command = project::dependent("unshare");
    command.args(["--mount", "--propagation", "private", "--ipc", "--pid", "--fork", "--kill-child", program]);
    command
}

/// Runs the program that is added as arguments. `folders` of the machine are at the same paths inside.
pub fn command(root: &Path, folders: &[&Path]) -> Command {
    let mut command = isolated("sh");
    command.args(["-c", ENTER, "enter"]).arg(root).args(folders).arg("--");
    command.env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C.UTF-8").env_remove("TMPDIR");
    command
}

/// Names resolve inside as they do outside, now.
pub fn follow_machine(root: &Path) -> Result<()> {
    for file in ["etc/resolv.conf", "etc/hosts"] {
        let ours = Path::new("/").join(file);
        if ours.exists() {
            fs::copy(&ours, root.join(file)).with_context(|| format!("cannot copy {}", ours.display()))?;
        }
    }
    Ok(())
}
