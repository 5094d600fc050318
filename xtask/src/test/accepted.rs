//! The expected files of a golden test.
//!
//! `NAME.out` is what PostgreSQL 15 prints. pg_regress also tries `NAME_0.out` to `NAME_9.out` and is content with any
//! of them; `NAME_1.out` is ours for what PostgreSQL 16 prints differently, `NAME_2.out` for 17, and so on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use orgscope_cluster::MAJORS;

pub struct Accepted<'a> {
    pub folder: &'a Path,
    pub test: &'a str,
}

impl Accepted<'_> {
    /// Makes `result` an accepted one. A major has a file of its own only while no other file says the same.
    pub fn take(&self, result: &[u8], major: u32) -> Result<()> {
        let own = self.file(major);
        let is_known = || MAJORS.filter(|&other| other != major).any(|other| says(&self.file(other), result));
        if major == *MAJORS.start() || !is_known() {
            return fs::write(&own, result).with_context(|| format!("cannot write {}", own.display()));
        }
        if own.exists() {
            fs::remove_file(&own).with_context(|| format!("cannot remove {}", own.display()))?;
        }
        Ok(())
    }

    fn file(&self, major: u32) -> PathBuf {
        let name = match major - MAJORS.start() {
            0 => format!("{}.out", self.test),
            number => format!("{}_{number}.out", self.test),
        };
        self.folder.join(name)
    }
}

fn says(file: &Path, result: &[u8]) -> bool {
    fs::read(file).is_ok_and(|expected| expected == result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_major_has_its_own_file_only_where_it_differs() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let accepted = Accepted { folder: folder.path(), test: "story" };
        let files = || -> Result<Vec<String>> {
            let names = fs::read_dir(folder.path())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        };
        accepted.take(b"old", 15)?;
        accepted.take(b"old", 17)?;
        assert_eq!(files()?, ["story.out"]);
        accepted.take(b"new", 17)?;
        accepted.take(b"new", 18)?;
        assert_eq!(files()?, ["story.out", "story_2.out"]);
        assert_eq!(fs::read(folder.path().join("story.out"))?, b"old");
        accepted.take(b"new", 15)?;
        accepted.take(b"new", 17)?;
        assert_eq!(files()?, ["story.out"]);
        Ok(())
    }
}
