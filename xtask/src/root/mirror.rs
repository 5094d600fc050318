//! Where this machine gets Debian from: a root gets it from there too. Apt itself reads its configuration, in all the
//! forms that has.

use std::process::Command;

use crate::major::SUPPORTED;

/// The mirror of the Debian archive; nothing on another distribution, or where apt uses something that debootstrap
/// cannot. debootstrap then takes its own.
pub fn of_this_machine() -> Option<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    let output = targets.arg("Created-By: Packages").output().ok()?;
    archive(&String::from_utf8_lossy(&output.stdout))
}

/// Each line is a source's URI, release and component.
fn archive(targets: &str) -> Option<String> {
    let fields = targets.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut uris = fields.filter_map(|fields| match fields[..] {
        [uri, release, "main"] if is_debian(release) && uri.starts_with("http") => Some(uri),
        _ => None,
    });
    Some(uris.next()?.trim_end_matches('/').to_owned())
}

/// The archive of security updates has releases of other names.
fn is_debian(release: &str) -> bool {
    SUPPORTED.iter().any(|major| major.debian == Some(release))
        || ["oldstable", "stable", "testing", "unstable", "sid"].contains(&release)
}

/// The lines of `apt-config dump` that name a proxy. A program that finds one is not inside the root.
pub fn proxies(settings: &str) -> String {
    let lines = settings.lines().filter(|line| {
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        name.starts_with("acquire::") && name.contains("proxy") && !name.contains("detect")
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The proxy that apt uses for all hosts; debootstrap reads it from its environment.
pub fn http_proxy(settings: &str) -> Option<&str> {
    let named = settings.lines().filter_map(|line| line.split_once(' '));
    let (_, proxy) = named.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("acquire::http::proxy"))?;
    let proxy = proxy.trim_end_matches(';').trim_matches('"');
    (!proxy.is_empty()).then_some(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_told_from_other_sources() {
        let targets = "\
            http://updates.test/debian-security/ bookworm-security main\n\
            http://tool.test/apt/ nodistro main\n\
            http://tool.test/debian/ bookworm stable\n\
            http://mirror.test/debian/ bookworm-updates main\n\
            http://mirror.test/debian/ bookworm main\n";
        assert_eq!(archive(targets), Some("http://mirror.test/debian".into()));
    }

    #[test]
    fn debootstrap_chooses_where_apt_has_no_debian_that_it_can_read() {
        assert_eq!(archive("http://mirror.test/ubuntu/ noble main\n"), None);
        assert_eq!(archive("mirror+file:/etc/apt/mirrors/debian.list/ bookworm main\n"), None);
        assert_eq!(archive("cdrom:[Debian]/ bookworm main\n"), None);
        assert_eq!(archive(""), None);
    }

    const SETTINGS: &str = "\
        Acquire \"\";\n\
        Acquire::Check-Valid-Until \"false\";\n\
        Acquire::http \"\";\n\
        Acquire::http::Proxy \"http://proxy.test:3142\";\n\
        Acquire::http::Proxy::mirror.test \"DIRECT\";\n\
        Acquire::http::Proxy-Auto-Detect \"/usr/local/bin/find-proxy\";\n\
        Acquire::https::proxy \"http://proxy.test:3142\";\n\
        Dir::Etc::proxy \"x\";\n";

    #[test]
    fn proxies_are_taken_over() {
        let proxies = proxies(SETTINGS);
        let names: Vec<_> = proxies.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["Acquire::http::Proxy", "Acquire::http::Proxy::mirror.test", "Acquire::https::proxy"]);
        assert_eq!(http_proxy(SETTINGS), Some("http://proxy.test:3142"));
        assert_eq!(http_proxy("Acquire \"\";\n"), None);
    }
}
