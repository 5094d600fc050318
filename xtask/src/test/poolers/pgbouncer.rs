//! A real PgBouncer in front of a cluster: Debian's program, unpacked and not installed, so that nothing of it starts by itself.

use std::fmt;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use orgscope_cluster::{Account, Cluster, we_are_root};

use super::scene;
use crate::{project, setup};

const PATIENCE: Duration = Duration::from_secs(30);
/// The first version with `track_extra_parameters`.
const TRACKS_SINCE: (u32, u32) = (1, 20);

/// PgBouncer 1.18 gives answers to the wrong client after another one was killed in the middle of a statement. It does so with
/// plain tables on a server without orgscope too; 1.24 was found not to.
const SURVIVES_KILLS_SINCE: (u32, u32) = (1, 24);

/// The program, and which version it is.
pub struct PgBouncer {
    program: PathBuf,
    version: (u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Configuration {
    pub mode: &'static str,
    /// `DISCARD ALL` between two clients, or nothing.
    pub reset: bool,
    /// `track_extra_parameters` names our setting.
    pub track: bool,
}

impl fmt::Display for Configuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reset = if self.reset { "DISCARD ALL" } else { "no reset" };
        write!(formatter, "{} pooling, {reset}{}", self.mode, if self.track { ", tracked" } else { "" })
    }
}

impl PgBouncer {
    pub fn find() -> Result<Self> {
        setup::require_libraries("pgbouncer")?;
        let program = setup::unpacked("pgbouncer", &project::target("programs"))?.join("usr/sbin/pgbouncer");
        let output = Command::new(&program).arg("--version").output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = version(&said).with_context(|| format!("PgBouncer calls its version \"{}\"", said.trim()))?;
        Ok(Self { program, version })
    }

    pub fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    pub fn tracks(&self) -> bool {
        self.version >= TRACKS_SINCE
    }

    pub fn start(&self, cluster: &Cluster, configuration: &Configuration) -> Result<Pooler> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let folder = cluster.scratch_directory(&format!("pooler-{port}"))?;
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, configuration.text(cluster, port, &folder))?;
        fs::write(folder.join("users"), format!("\"{}\" \"\"\n", scene::ROLE))?;
        let log = folder.join("log");
        let output = File::create(&log)?;
        let mut command = as_server()?;
        command.arg(&self.program).arg("--quiet").arg(&file).stdin(Stdio::null());
        let process = command.stdout(output.try_clone()?).stderr(output).spawn().context("cannot start PgBouncer")?;
        let mut pooler = Pooler { process, port, log, survives_kills: self.version >= SURVIVES_KILLS_SINCE };
        pooler.wait()?;
        Ok(pooler)
    }
}

/// Like the servers: PgBouncer refuses to be root as well. It is killed when this program ends.
fn as_server() -> Result<Command> {
    let account = Account::for_servers()?;
    let mut command = Command::new("setpriv");
    if we_are_root() {
        command.args(["--reuid", account.name(), "--regid", account.name(), "--init-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]);
    Ok(command)
}

impl Configuration {
    fn text(&self, cluster: &Cluster, port: u16, folder: &Path) -> String {
        let socket = cluster.socket_directory().display();
        let reset = if self.reset { "DISCARD ALL\nserver_reset_query_always = 1" } else { "" };
        let track = if self.track { "track_extra_parameters = IntervalStyle, orgscope.current_org\n" } else { "" };
        format!(
            "[databases]\npostgres = host={socket} port={} dbname=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = {}\ndefault_pool_size = 8\nmax_client_conn = 500\nserver_reset_query = {reset}\n{track}\
             log_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\nlog_stats = 0\n",
            cluster.port(),
            folder.join("users").display(),
            self.mode,
        )
    }
}

/// Running; gone when dropped.
pub struct Pooler {
    process: Child,
    pub port: u16,
    log: PathBuf,
    /// Whether its clients may be killed, and the answers of the others still be trusted.
    pub survives_kills: bool,
}

impl Pooler {
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if self.process.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("PgBouncer does not listen:\n{}", fs::read_to_string(&self.log)?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Of `PgBouncer 1.18.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.lines().next()?.strip_prefix("PgBouncer ")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        assert_eq!(version("PgBouncer 1.18.0\nlibevent 2.1.12-stable"), Some((1, 18)));
        assert_eq!(version("PgBouncer 1.24.1"), Some((1, 24)));
        assert_eq!(version("pgbouncer"), None);
        assert!((1, 24) >= TRACKS_SINCE && (1, 18) < TRACKS_SINCE);
    }
}
