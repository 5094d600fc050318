//! `cargo xtask package`: the file tree that a distribution package would contain.

use anyhow::Result;
use orgscope_cluster::Installation;

use crate::{pgrx, project, setup, step};

pub fn run() -> Result<()> {
    setup::run()?;
    let out_dir = project::target("package");
    let mut package = pgrx::command("package");
    pgrx::build_for(&mut package, &Installation::find()?)?;
    package.arg("--out-dir").arg(&out_dir);
    step::run("package", "build the package tree", &mut package)?.required()?;
    println!("{}", out_dir.display());
    Ok(())
}
