//! A published schema as its own programs make it, dumped: they are slow, and run once.
//!
//! What is scoped comes out of a dump in any case. PostgreSQL prints some expressions differently once they have been
//! printed and read (`status IN ('a')` over varchar in an index), and unscoping makes an index again from what was printed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use orgscope_cluster::{Cluster, SUPERUSER};

use super::subject::Subject;
use crate::step;

/// The dump with tables and rows. It lies in the environment, which is made anew when a version changes.
pub fn dump(subject: &Subject, cluster: &Cluster, python: &Path) -> Result<PathBuf> {
    let environment = python.ancestors().nth(2).context("python is not in an environment")?;
    let dump = environment.join(format!("{}.sql", subject.name));
    if is_newer(&dump, &subject.folder())? {
        return Ok(dump);
    }
    let database = format!("{}_source", subject.name);
    cluster.create_database(&database)?;
    let mut admin = cluster.connect(SUPERUSER, &database)?;
    admin.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", subject.schema))?;
    for (number, arguments) in subject.load.iter().enumerate() {
        let mut load = subject.python(python, cluster, SUPERUSER, &database);
        let name = format!("schemas-{}-{number}", subject.name);
        step::run(&name, "create its tables", load.args(*arguments))?.required()?;
    }
    // Complete or absent: a later run trusts what it finds there.
    let partial = dump.with_extension("partial");
    let mut pg_dump = cluster.command("pg_dump");
    pg_dump.args(["--no-owner", "--no-privileges", "--file"]).arg(&partial).arg(&database);
    step::run(&format!("schemas-{}-dump", subject.name), "keep them for later runs", &mut pg_dump)?.required()?;
    fs::rename(&partial, &dump).with_context(|| format!("cannot create {}", dump.display()))?;
    Ok(dump)
}

/// Whether the dump was made after the last change of the programs that it comes from.
fn is_newer(dump: &Path, folder: &Path) -> Result<bool> {
    let Ok(made) = fs::metadata(dump).and_then(|found| found.modified()) else { return Ok(false) };
    for program in fs::read_dir(folder)? {
        let program = program?;
        let is_python = program.path().extension().is_some_and(|extension| extension == "py");
        if is_python && program.metadata()?.modified()? > made {
            return Ok(false);
        }
    }
    Ok(true)
}
