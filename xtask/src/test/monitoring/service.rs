//! A program that serves HTTP on this machine alone, and is gone when its owner is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::project;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Service {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Service {
    /// Starts it and waits until `path` is answered.
    pub fn start(program: &Path, folder: &Path, configure: impl FnOnce(&mut Command), path: &str) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let name = program.file_name().context("a program has a name")?.to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        let mut command = project::dependent(program);
        command.current_dir(folder).arg(format!("--web.listen-address=127.0.0.1:{port}"));
        configure(&mut command);
        let file = File::create(&log)?;
        command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let service = Self { process, port, log };
        wait_for(&name, || service.get(path).is_ok()).with_context(|| service.log().unwrap_or_default())?;
        Ok(service)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// The body of a page.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.lines().next().unwrap_or_default();
        if !status.contains(" 200 ") {
            bail!("{path}: {status}: {body}");
        }
        Ok(body.to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Looks again until something is so.
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !so() {
        if started.elapsed() > PATIENCE {
            bail!("waited {} s in vain: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
