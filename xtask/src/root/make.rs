//! Making a root: debootstrap, settings, then `cargo xtask setup` inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Root, enter, mirror, run};
use crate::major::Major;
use crate::{setup, step};

/// Every release has this script's rules; an older debootstrap does not know newer releases by name.
const SCRIPT: &str = "sid";
const CERTIFICATES: &str = "usr/local/share/ca-certificates";

/// The root gets its name when it is complete, so one that was interrupted is made anew.
pub fn make(major: &Major, release: &str, path: &Path) -> Result<()> {
    println!("Making a root of Debian {release} for PostgreSQL {}, once, in {}:", major.number, path.display());
    setup::require("debootstrap")?;
    let unfinished = path.with_extension("unfinished");
    if unfinished.exists() {
        step::work("remove what an interrupted run left", || Ok(fs::remove_dir_all(&unfinished)?))?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    debootstrap(major, release, &unfinished)?;
    configure(&unfinished)?;
    let mut setup = Root::at(unfinished.clone(), major).xtask()?;
    let status = setup.args(["setup", "--pg", &major.number.to_string()]).status()?;
    ensure!(status.success(), "preparing {} failed ({status})", unfinished.display());
    run(&unfinished, "apt-get", &["clean"])?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot rename {}", unfinished.display()))
}

fn debootstrap(major: &Major, release: &str, root: &Path) -> Result<()> {
    // It mounts things in the root; there they are gone even if it is killed.
    let mut debootstrap = enter::isolated("debootstrap");
    debootstrap.args(["--variant=minbase", "--include=ca-certificates", release]).arg(root);
    debootstrap.arg(mirror::of_this_machine().unwrap_or_default()).arg(SCRIPT);
    if let (None, Some(proxy)) = (std::env::var_os("http_proxy"), mirror::http_proxy(&apt_settings()?)) {
        debootstrap.env("http_proxy", proxy);
    }
    let log = format!("debootstrap-{}", major.feature());
    step::run(&log, &format!("install the base system of Debian {release}"), &mut debootstrap)?.required()?;
    Ok(())
}

/// What has to be there before the first package is installed.
fn configure(root: &Path) -> Result<()> {
    // The lists of a release in the making expire within days. Files need not survive a crash of the machine.
    let apt = format!("Acquire::Check-Valid-Until \"false\";\n{}", mirror::proxies(&apt_settings()?));
    write(root, "etc/apt/apt.conf.d/99orgscope", &apt)?;
    write(root, "etc/dpkg/dpkg.cfg.d/orgscope", "force-unsafe-io\n")?;
    // The tests start their own servers; the packages must start none.
    write(root, "etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n")?;
    write(root, "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(root.join("usr/sbin/policy-rc.d"), fs::Permissions::from_mode(0o755))?;
    enter::follow_machine(root)?;
    trust_what_the_machine_trusts(root)
}

fn trust_what_the_machine_trusts(root: &Path) -> Result<()> {
    let ours = Path::new("/").join(CERTIFICATES);
    if !ours.is_dir() {
        return Ok(());
    }
    let mut copy = Command::new("cp");
    let copied = copy.args(["--recursive", "--dereference", "--no-target-directory"]).arg(&ours);
    let status = copied.arg(root.join(CERTIFICATES)).status()?;
    ensure!(status.success(), "cannot copy {}", ours.display());
    run(root, "update-ca-certificates", &[])
}

fn write(root: &Path, file: &str, text: &str) -> Result<()> {
    let path = root.join(file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn apt_settings() -> Result<String> {
    let dump = Command::new("apt-config").arg("dump").output().context("cannot run apt-config")?;
    Ok(String::from_utf8_lossy(&dump.stdout).into_owned())
}
