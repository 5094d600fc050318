//! Where the suite comes from: the source package of the installed PostgreSQL, downloaded once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::Installation;

use super::apt::Apt;
use crate::{project, step};

/// A minor version of each major with the checksum of its source archive. It stands in when a mirror has a new binary
/// package and not its source.
const KNOWN: &[(&str, &str, &str)] = &[
    ("15", "15.18", "11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4"),
    ("17", "17.11", "dd27f2b3c59e73ed14aa3324901242bf69a032a6347805f274e6260322d42979"),
    ("18", "18.6", "555610c24d53e4316da5b7d3fc25c279d96856d5e0e23ee308c328c5fa881d9f"),
];

/// The installed PostgreSQL, as its package says.
pub struct Installed {
    pub major: String,
    /// PostgreSQL's version, for example 15.20.
    version: String,
    /// The source package's version, for example 15.20-0+deb12u1.
    package: String,
}

/// Some version's `src/test/regress`.
pub struct Suite {
    pub folder: PathBuf,
    /// Whether it belongs to the installed version.
    pub exact: bool,
}

impl Installed {
    pub fn find(installation: &Installation) -> Result<Self> {
        let version = installation.ask("--version")?;
        let major = version.split_whitespace().nth(1).and_then(|version| version.split(['.', 'b', 'r', 'd']).next());
        let major = major.with_context(|| format!("cannot read the major version in `{version}`"))?;
        let package = format!("postgresql-{major}");
        let query = Command::new("dpkg-query").args(["--show", "--showformat=${source:Version}", &package]).output();
        let query = query.context("cannot run dpkg-query: PostgreSQL's tests come from Debian's source package")?;
        ensure!(query.status.success(), "{package} is not installed as a Debian package, so its tests are not known");
        let package = String::from_utf8(query.stdout)?;
        Ok(Self { major: major.to_owned(), version: upstream(&package).to_owned(), package })
    }

    /// The suite of the installed version, or of the known version of the same major.
    pub fn suite(&self) -> Result<Suite> {
        let known = KNOWN.iter().find(|(major, ..)| *major == self.major);
        let exact = cache(&self.version);
        if exact.exists() {
            return Ok(Suite { folder: exact, exact: true });
        }
        let substitute = known.map(|(_, version, _)| cache(version)).filter(|folder| folder.exists());
        if let Some(folder) = substitute {
            return Ok(Suite { folder, exact: false });
        }
        self.download(known)
    }

    fn download(&self, known: Option<&(&str, &str, &str)>) -> Result<Suite> {
        let caches = project::target("postgres-source");
        fs::create_dir_all(&caches).with_context(|| format!("cannot create {}", caches.display()))?;
        let work = tempfile::tempdir_in(&caches)?;
        let apt = Apt::new(work.path())?;
        let name = format!("postgresql-{}", self.major);
        if apt.download(&name, &self.package)? {
            return Ok(Suite { folder: unpack(work.path(), &self.version)?, exact: true });
        }
        let (_, version, checksum) = known.with_context(|| {
            format!("the source of {name} {} is not offered, and no other version's checksum is known", self.package)
        })?;
        println!("  the source of {name} {} is not offered; taking the tests of {version}", self.package);
        let path = format!("pool/main/p/{name}/{name}_{version}.orig.tar.bz2");
        ensure!(apt.download_known(&path, checksum)?, "no archive of this machine has {path} either");
        Ok(Suite { folder: unpack(work.path(), version)?, exact: *version == self.version })
    }
}

fn cache(version: &str) -> PathBuf {
    project::target("postgres-source").join(version)
}

/// Takes the suite out of the source archive in `work`. Debian's patches do not touch it.
fn unpack(work: &Path, version: &str) -> Result<PathBuf> {
    let archives = fs::read_dir(work)?.flatten().map(|entry| entry.path());
    let archive = archives.into_iter().find(|path| path.to_string_lossy().contains(".orig.tar."));
    let suite = work.join("suite");
    fs::create_dir(&suite)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(archive.context("apt downloaded no source archive")?);
    tar.arg("--directory").arg(&suite).args(["--strip-components=4", "--wildcards", "*/src/test/regress/*"]);
    step::run("postgres-unpack", "unpack PostgreSQL's own tests", &mut tar)?.required()?;
    let cache = cache(version);
    // Complete or absent: a later run trusts what it finds there.
    fs::rename(&suite, &cache).with_context(|| format!("cannot create {}", cache.display()))?;
    Ok(cache)
}

/// A package version without Debian's revision and epoch.
fn upstream(package: &str) -> &str {
    let version = package.rsplit_once('-').map_or(package, |(version, _)| version);
    version.split_once(':').map_or(version, |(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_version_begins_with_postgresqls() {
        assert_eq!(upstream("15.20-0+deb12u1"), "15.20");
        assert_eq!(upstream("1:18.6-3"), "18.6");
        assert_eq!(upstream("19~rc1-1~exp2"), "19~rc1");
    }
}
