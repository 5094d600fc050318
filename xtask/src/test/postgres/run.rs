//! Runs the suite on a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::{Cluster, Installation, SUPERUSER};

use super::output;
use crate::{project, step};

/// Some tests print it.
const DATABASE: &str = "regression";

/// A copy of the suite where servers can read it, with the library that its C functions are in.
pub struct Workspace {
    inputs: PathBuf,
}

/// What a run of the suite showed.
pub struct Results {
    pub verdicts: BTreeMap<String, bool>,
    pub differences: BTreeMap<String, String>,
    pub seconds: f64,
    outputs: PathBuf,
}

impl Workspace {
    pub fn new(suite: &Path, directory: PathBuf, installation: &Installation) -> Result<Self> {
        let mut copy = Command::new("cp");
        copy.arg("--recursive").arg("--no-target-directory").arg(suite).arg(&directory);
        ensure!(copy.status()?.success(), "cannot copy {} to {}", suite.display(), directory.display());
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-fPIC", "-shared", "-I"]).arg(installation.ask("--includedir-server")?);
        compile.arg("-o").arg(directory.join("regress.so")).arg(directory.join("regress.c"));
        step::run("postgres-compile", "compile the functions that PostgreSQL's own tests use", &mut compile)?
            .required()?;
        // Of contrib/spi; test "triggers" uses them.
        let libraries = PathBuf::from(installation.ask("--pkglibdir")?);
        for name in ["autoinc.so", "refint.so"] {
            let library = libraries.join(name);
            fs::copy(&library, directory.join(name)).with_context(|| format!("no {}", library.display()))?;
        }
        Ok(Self { inputs: directory })
    }

    /// Runs all tests in a new database. `template1` decides what is in it; pg_regress by itself would copy `template0`.
    pub fn run(&self, cluster: &Cluster, name: &str, what: &str) -> Result<Results> {
        cluster.create_database(DATABASE)?;
        let outputs = cluster.scratch_directory("regress")?;
        let mut command = Command::new(cluster.installation().test_program("regress/pg_regress")?);
        cluster.aim(&mut command);
        command.current_dir(&outputs).env_remove("RUST_BACKTRACE");
        command.arg("--use-existing").arg(format!("--dbname={DATABASE}")).arg(format!("--user={SUPERUSER}"));
        command.arg("--host").arg(cluster.socket_directory()).arg(format!("--port={}", cluster.port()));
        command.arg("--bindir").arg(cluster.installation().bindir());
        command.arg("--inputdir").arg(&self.inputs).arg("--outputdir").arg(&outputs).arg("--dlpath").arg(&self.inputs);
        command.arg("--max-concurrent-tests=20").arg("--schedule").arg(self.inputs.join("parallel_schedule"));
        // Some files are written by psql first and by the server later, so both run under the account that has this.
        let owner = fs::metadata(&outputs)?;
        if orgscope_cluster::we_are_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        // Not a step that fails with its command: a test that fails can be a deviation on record.
        let started = Instant::now();
        let output = step::work(what, || Ok(command.stdin(Stdio::null()).output()?))?;
        let seconds = started.elapsed().as_secs_f64();
        let printed = [output.stdout, output.stderr].concat();
        fs::write(project::target("logs").join(format!("{name}.log")), &printed)?;
        let printed = String::from_utf8_lossy(&printed);
        let verdicts = output::verdicts(&printed);
        // It says so when a test failed; without one, something else did.
        ensure!(output.status.success() || verdicts.values().any(|ok| !ok), "pg_regress failed:\n{printed}");
        let differences = fs::read(outputs.join("regression.diffs")).unwrap_or_default();
        let differences = output::differences(&String::from_utf8_lossy(&differences));
        Ok(Results { verdicts, differences, seconds, outputs })
    }

    /// From now on what that run printed is expected, for the tests that failed in it.
    pub fn expect(&self, results: &Results) -> Result<()> {
        let expected = self.inputs.join("expected");
        for test in results.failed() {
            let printed = results.outputs.join("results").join(format!("{test}.out"));
            fs::copy(&printed, expected.join(format!("{test}.out"))).with_context(|| format!("no result of {test}"))?;
            for variant in 0..10 {
                let variant = expected.join(format!("{test}_{variant}.out"));
                if variant.exists() {
                    fs::remove_file(variant)?;
                }
            }
        }
        Ok(())
    }
}

impl Results {
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.verdicts.iter().filter(|(_, ok)| !**ok).map(|(test, _)| test.as_str())
    }
}
