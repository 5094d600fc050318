//! Source packages through apt, with a configuration of its own: few machines list sources, and /etc/apt is not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step;

/// apt's own lists and caches in one folder, and the machine's archives of this release as sources.
pub struct Apt<'a> {
    folder: &'a Path,
    archives: BTreeSet<String>,
}

impl<'a> Apt<'a> {
    pub fn new(folder: &'a Path) -> Result<Self> {
        for name in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let release = codename(&fs::read_to_string("/etc/os-release")?)?;
        let machine = machine_sources(&release)?;
        ensure!(!machine.is_empty(), "no archive of {release} in /etc/apt/sources.list and /etc/apt/sources.list.d");
        let mut archives = BTreeSet::new();
        for (number, sources) in machine.iter().enumerate() {
            fs::write(folder.join(format!("sources/{number}.{}", sources.extension)), &sources.text)?;
            archives.extend(sources.archives.iter().cloned());
        }
        Ok(Self { folder, archives })
    }

    /// Downloads PostgreSQL's own part of one version of a source package; whether it was there.
    pub fn download(&self, package: &str, version: &str) -> Result<bool> {
        let mut update = self.command("apt-get");
        step::run("apt-sources", "look for PostgreSQL's source package", update.arg("update"))?;
        let mut source = self.command("apt-get");
        source.args(["source", "--only-source", "--download-only", "--tar-only"]).arg(format!("{package}={version}"));
        Ok(step::run("apt-source", &format!("download {package} {version}"), &mut source)?.success)
    }

    /// Downloads a file whose checksum is known from any of the machine's archives; whether one had it.
    pub fn download_known(&self, path: &str, sha256: &str) -> Result<bool> {
        let name = path.rsplit('/').next().unwrap_or(path);
        for archive in &self.archives {
            let mut helper = self.command("/usr/lib/apt/apt-helper");
            helper.arg("download-file").arg(format!("{archive}/{path}")).arg(name).arg(format!("SHA256:{sha256}"));
            if step::run("apt-helper", &format!("download {name}"), &mut helper)?.success {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder);
        let folder = self.folder.display();
        for option in [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={folder}/sources"),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
        ] {
            command.arg("--option").arg(option);
        }
        command
    }
}

/// One file of the machine's configuration, turned to source packages.
#[derive(Debug, Default, PartialEq)]
struct Sources {
    extension: &'static str,
    text: String,
    archives: Vec<String>,
}

fn machine_sources(release: &str) -> Result<Vec<Sources>> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.flatten().map(|entry| entry.path()));
    }
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.push(from_lines(&text, release)),
            Some("sources") => sources.push(from_stanzas(&text, release)),
            _ => {}
        }
    }
    sources.retain(|sources| !sources.archives.is_empty());
    Ok(sources)
}

/// `deb [options] archive suite component...`, one a line.
fn from_lines(text: &str, release: &str) -> Sources {
    let mut sources = Sources { extension: "list", ..Sources::default() };
    for line in text.lines() {
        let Some(entry) = line.trim().strip_prefix("deb ") else { continue };
        let entry = entry.trim_start();
        let plain = if entry.starts_with('[') { entry.split_once(']').map_or("", |(_, rest)| rest) } else { entry };
        let mut words = plain.split_whitespace();
        if let (Some(archive), Some(suite)) = (words.next(), words.next())
            && is_of(release, suite)
        {
            sources.text += &format!("deb-src {entry}\n");
            sources.archives.push(archive.trim_end_matches('/').to_owned());
        }
    }
    sources
}

/// deb822: stanzas of fields, divided by empty lines.
fn from_stanzas(text: &str, release: &str) -> Sources {
    let mut sources = Sources { extension: "sources", ..Sources::default() };
    for stanza in text.split("\n\n") {
        let fields = fields(stanza);
        let words = |name: &str| fields.get(name).map_or(Vec::new(), |value| value.split_whitespace().collect());
        let off = words("enabled").iter().any(|word| matches!(*word, "no" | "false" | "off" | "0"));
        if off || !words("types").contains(&"deb") || !words("suites").iter().any(|suite| is_of(release, suite)) {
            continue;
        }
        for line in stanza.lines() {
            let is_types = line.to_ascii_lowercase().starts_with("types:");
            sources.text += if is_types { "Types: deb-src" } else { line };
            sources.text.push('\n');
        }
        sources.text.push('\n');
        sources.archives.extend(words("uris").iter().map(|uri| uri.trim_end_matches('/').to_owned()));
    }
    sources
}

/// Lower-case names; a continuation line belongs to the field above it.
fn fields(stanza: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut current = String::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        let value = match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                current = name.to_ascii_lowercase();
                value
            }
            _ => line,
        };
        let field: &mut String = fields.entry(current.clone()).or_default();
        field.push(' ');
        field.push_str(value.trim());
    }
    fields
}

/// The release itself, its updates, security and backports; what other publishers name after it does no harm.
fn is_of(release: &str, suite: &str) -> bool {
    suite.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
}

fn codename(os_release: &str) -> Result<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(line.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_entries_of_the_release_become_sources() {
        let text = "# deb http://commented.example/debian trixie main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main contrib\n\
            deb http://mirror.example/security trixie-security main\n\
            deb-src http://mirror.example/debian trixie main\n\
            deb https://other.example/apt tools-trixie main\n";
        let sources = from_lines(text, "trixie");
        assert_eq!(
            sources.text,
            "deb-src [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main contrib\n\
             deb-src http://mirror.example/security trixie-security main\n"
        );
        assert_eq!(sources.archives, ["http://mirror.example/debian", "http://mirror.example/security"]);
    }

    #[test]
    fn stanzas_keep_their_keys() {
        let text = "Types: deb\n# a comment: here\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By:\n -----BEGIN PGP-----\n .\n AAAA\n\n\
            Types: deb\nURIs: https://other.example\nSuites: nodistro\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n";
        let sources = from_stanzas(text, "bookworm");
        assert_eq!(
            sources.text,
            "Types: deb-src\n# a comment: here\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
             Components: main\nSigned-By:\n -----BEGIN PGP-----\n .\n AAAA\n\n"
        );
        assert_eq!(sources.archives, ["http://mirror.example/debian"]);
    }

    #[test]
    fn the_release_has_a_name() -> Result<()> {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n")?, "trixie");
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n")?, "noble");
        assert!(codename("ID=arch\n").is_err());
        Ok(())
    }
}
