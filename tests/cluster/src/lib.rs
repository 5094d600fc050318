//! A throwaway PostgreSQL cluster: its own data directory, port and socket, gone when its owner is gone.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use orgscope_cluster::{Cluster, Options};
//! let cluster = Cluster::start(&Options::default())?;
//! cluster.connect("postgres", "postgres")?.batch_execute("CREATE EXTENSION orgscope")?;
//! # Ok(())
//! # }
//! ```
//!
//! Test files that do not change the server share one cluster and take a database each:
//! `Cluster::shared()?.create_database("my_test")?`.

mod account;
mod installation;
mod options;
mod standby;
#[cfg(test)]
mod tests;
mod watchdog;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use account::{Account, we_are_root};
pub use installation::{Installation, MAJORS};
pub use options::{Options, PRELOAD};
use watchdog::Watchdog;

/// The only role a new cluster has; it is a superuser and needs no password.
pub const SUPERUSER: &str = "postgres";

/// A running server. Dropping it stops the server and removes its directory.
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    installation: Installation,
    account: Account,
    watchdog: Watchdog,
}

impl Cluster {
    /// Creates and starts a cluster.
    pub fn start(options: &Options) -> Result<Self> {
        let installation = Installation::find()?;
        let account = Account::for_servers()?;
        let directory = server_directory(&account)?;
        // From here on nothing is left behind, whatever fails.
        let watchdog = Watchdog::guard(&directory)?;
        let mut cluster = Self { directory, port: 0, installation, account, watchdog };
        cluster.initdb()?;
        cluster.start_on_free_port(options)?;
        Ok(cluster)
    }

    /// The one cluster of this process, with default options; it is stopped when the process ends.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        // `OnceLock::get_or_init` cannot report a failure, so the lock keeps a second thread from starting another.
        let _guard = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = SHARED.get() {
            return Ok(cluster);
        }
        let cluster = Self::start(&Options::default())?;
        Ok(SHARED.get_or_init(|| cluster))
    }

    /// Connects over TCP, as any application would.
    pub fn connect(&self, user: &str, database: &str) -> Result<postgres::Client> {
        self.client_config(user, database)
            .connect(postgres::NoTls)
            .with_context(|| format!("cannot connect to database {database} as {user}"))
    }

    /// What `connect` uses; for callers that add startup options or an application name.
    pub fn client_config(&self, user: &str, database: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(user).dbname(database);
        config
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let quoted = name.replace('"', "\"\"");
        self.connect(SUPERUSER, "postgres")?.batch_execute(&format!("CREATE DATABASE \"{quoted}\""))?;
        Ok(())
    }

    /// A client program (`psql`, `pg_dump`, `pgbench`, ...) aimed at this cluster as the superuser.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.program(program));
        self.aim(&mut command);
        command
    }

    /// Points any libpq program at this cluster, and clears what the caller's environment says otherwise.
    pub fn aim(&self, command: &mut Command) {
        for name in ["PGDATABASE", "PGSERVICE", "PGPASSWORD", "PGHOSTADDR", "PGOPTIONS"] {
            command.env_remove(name);
        }
        command.env("PGHOST", &self.directory).env("PGPORT", self.port.to_string()).env("PGUSER", SUPERUSER);
    }

    /// Stops the server in an orderly way and starts it again with the same data.
    pub fn restart(&self) -> Result<()> {
        self.pg_ctl(&["restart", "-m", "fast"])
    }

    /// Stops the server without a checkpoint and starts it again: what a power failure does.
    pub fn crash_and_recover(&self) -> Result<()> {
        self.pg_ctl(&["stop", "-m", "immediate"])?;
        self.pg_ctl(&["start"])
    }

    /// Kills one server process with SIGKILL; the postmaster then restarts all others.
    pub fn kill9(&self, backend_pid: i32) -> Result<()> {
        kill(Pid::from_raw(backend_pid), Signal::SIGKILL).with_context(|| format!("cannot kill process {backend_pid}"))
    }

    /// Leaves the server running after this process; `stop_command` tells the user how to end it.
    pub fn keep(self) -> Result<()> {
        self.watchdog.dismiss()
    }

    /// The shell command that ends a kept cluster.
    pub fn stop_command(&self) -> String {
        let directory = self.directory.display();
        format!("kill -INT $(head -1 {directory}/data/postmaster.pid) && sleep 1 && rm -rf {directory}")
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket; usable as a libpq host.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// A libpq URL of the superuser's own database.
    pub fn url(&self) -> String {
        format!("postgresql://{SUPERUSER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Where the server writes its log.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// The PostgreSQL this cluster runs.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// A new empty directory that the server may write to; removed with the cluster.
    pub fn scratch_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        self.account.take_ownership(&path)?;
        Ok(path)
    }

    fn initdb(&self) -> Result<()> {
        let data = self.directory.join("data");
        let mut initdb = self.server_program("initdb");
        initdb.arg("--pgdata").arg(&data).args(["--username", SUPERUSER, "--auth=trust", "--no-sync"]);
        finish(initdb.args(["--encoding=UTF8", "--no-locale"]))
    }

    /// A free port can be taken by somebody else before the server binds it, so try a few.
    fn start_on_free_port(&mut self, options: &Options) -> Result<()> {
        let mut attempts = 3;
        loop {
            self.port = free_port()?;
            self.write_configuration(options)?;
            attempts -= 1;
            let Err(error) = self.pg_ctl(&["start"]) else {
                return Ok(());
            };
            let log = fs::read_to_string(self.log_path()).unwrap_or_default();
            if attempts == 0 || !log.contains("Address already in use") {
                bail!("{error:#}\nserver log:\n{log}");
            }
        }
    }

    fn write_configuration(&self, options: &Options) -> Result<()> {
        let path = self.directory.join("data/postgresql.auto.conf");
        fs::write(&path, options.configuration(&self.directory, self.port))?;
        chown(&path, self.account.uid(), self.account.gid())?;
        Ok(())
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<()> {
        let mut pg_ctl = self.server_program("pg_ctl");
        pg_ctl.args(arguments).args(["--wait", "--silent", "--log"]).arg(self.log_path());
        finish(pg_ctl.arg("--pgdata").arg(self.directory.join("data")))
    }

    fn server_program(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.program(program));
        self.account.apply(&mut command);
        command.current_dir(&self.directory);
        // A Rust backtrace of the extension would end up in the DETAIL of error messages.
        command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
        command
    }
}

/// Under /tmp, not `TMPDIR`: a socket path longer than about 100 bytes is refused by the kernel.
fn server_directory(account: &Account) -> Result<PathBuf> {
    let directory = tempfile::Builder::new().prefix("orgscope-").tempdir_in("/tmp")?.keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    account.take_ownership(&directory)?;
    Ok(directory)
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Runs a short command and reports what it said when it fails.
fn finish(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?} failed ({}):\n{}", output.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}
