//! Deviations on record: `tests/postgres/<test>.diff`, or below a major version's folder; each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::run::Results;
use crate::project;
use crate::test::count::Count;

/// How much of an unexpected difference is printed.
const SHOWN_LINES: usize = 40;

/// The deviations on record for one major version.
pub struct Records {
    tests: BTreeMap<String, Recorded>,
    /// Where one that is not on record is written, to be read, and copied when it is to be.
    observed: PathBuf,
}

impl Records {
    pub fn read(major: &str) -> Result<Self> {
        let every_major = project::path("tests/postgres");
        let mut tests = Recorded::read_all(&every_major)?;
        tests.extend(Recorded::read_all(&every_major.join(major))?);
        let observed = project::target("postgres").join(major);
        if observed.exists() {
            fs::remove_dir_all(&observed)?;
        }
        fs::create_dir_all(&observed).with_context(|| format!("cannot create {}", observed.display()))?;
        Ok(Self { tests, observed })
    }

    /// Counts a test as passed when it passed without a record, or deviates exactly as recorded.
    pub fn judge(&self, results: &Results) -> Result<Count> {
        let tests: BTreeSet<&String> = results.verdicts.keys().chain(self.tests.keys()).collect();
        let mut as_recorded = Vec::new();
        let mut count = Count::default();
        for test in tests {
            let passed = results.verdicts.get(test) != Some(&false);
            let difference = (!passed).then(|| results.differences.get(test).map_or("", String::as_str));
            let success = self.agrees(test, difference)?;
            if success && !passed {
                as_recorded.push(test.as_str());
            }
            count = count + Count::whole(success);
        }
        if !as_recorded.is_empty() {
            println!("  deviations on record: {}", as_recorded.join(", "));
        }
        Ok(count)
    }

    /// Whether a test did what is expected of it; says so when not.
    fn agrees(&self, test: &str, difference: Option<&str>) -> Result<bool> {
        let observed = self.observed.join(format!("{test}.diff"));
        match (self.tests.get(test), difference) {
            (None, None) => return Ok(true),
            (Some(recorded), Some(difference)) if recorded.difference == difference => return Ok(true),
            (Some(recorded), None) => println!("  {test}: the deviation in {} is gone", recorded.file.display()),
            (Some(recorded), Some(difference)) => {
                fs::write(&observed, format!("{}{difference}", recorded.reason))?;
                println!("  {test}: not the deviation on record, but {}", observed.display());
                let diff = Command::new("diff").arg("--unified").arg(&recorded.file).arg(&observed).output()?;
                print_beginning(&String::from_utf8_lossy(&diff.stdout));
            }
            (None, Some(difference)) => {
                fs::write(&observed, format!("# \n{difference}"))?;
                println!("  {test}: not what PostgreSQL prints, see {}", observed.display());
                print_beginning(difference);
            }
        }
        Ok(false)
    }
}

/// A broken connection makes all of a test's output a difference.
fn print_beginning(text: &str) {
    text.lines().take(SHOWN_LINES).for_each(|line| println!("    {line}"));
    if text.lines().count() > SHOWN_LINES {
        println!("    ...");
    }
}

/// A recorded deviation: comment lines that say why, then the difference.
struct Recorded {
    file: PathBuf,
    reason: String,
    difference: String,
}

impl Recorded {
    /// By test.
    fn read_all(folder: &Path) -> Result<BTreeMap<String, Self>> {
        let mut tests = BTreeMap::new();
        let Ok(entries) = fs::read_dir(folder) else { return Ok(tests) };
        for file in entries.flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "diff") {
                let test = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
                tests.insert(test, Self::parse(file, &text)?);
            }
        }
        Ok(tests)
    }

    fn parse(file: PathBuf, text: &str) -> Result<Self> {
        let is_reason = |line: &&str| line.starts_with('#');
        let reason: String = text.lines().take_while(is_reason).flat_map(|line| [line, "\n"]).collect();
        let difference = text.lines().skip_while(is_reason).flat_map(|line| [line, "\n"]).collect();
        let reasoned = !reason.trim_matches(['#', ' ', '\n']).is_empty();
        ensure!(reasoned, "{} does not begin with `# ` and the reason", file.display());
        Ok(Self { file, reason, difference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_reason_and_a_difference() -> Result<()> {
        let parse = |text: &str| Recorded::parse("event_trigger.diff".into(), text);
        let recorded = parse("# lists all event triggers,\n# ours too\n@@\n-# a\n+b\n")?;
        assert_eq!(recorded.reason, "# lists all event triggers,\n# ours too\n");
        assert_eq!(recorded.difference, "@@\n-# a\n+b\n");
        assert!(parse("@@\n-a\n").is_err());
        assert!(parse("# \n@@\n-a\n").is_err());
        Ok(())
    }
}
