//! How a cluster is configured.

use std::path::Path;

/// Configuration of a new cluster.
#[derive(Clone, Debug)]
pub struct Options {
    preload: Option<String>,
    lines: Vec<String>,
}

/// The environment variable that names the libraries which a server with default options preloads, orgscope among them: tests
/// show the same beside others.
pub const PRELOAD: &str = "ORGSCOPE_PRELOAD";

impl Default for Options {
    /// orgscope preloaded, as a production server has it.
    fn default() -> Self {
        Self::without_preload().preload(std::env::var(PRELOAD).as_deref().unwrap_or("orgscope"))
    }
}

impl Options {
    /// A server without any preloaded library.
    pub fn without_preload() -> Self {
        Self { preload: None, lines: Vec::new() }
    }

    /// Preloads these libraries instead, for example `"pgaudit,orgscope"`. pgaudit then logs everything it can.
    pub fn preload(mut self, libraries: &str) -> Self {
        self.preload = Some(libraries.into());
        if libraries.contains("pgaudit") { self.line("pgaudit.log = 'all'") } else { self }
    }

    /// Adds a line to the configuration, for example `"wal_level = logical"`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.into());
        self
    }

    pub(crate) fn configuration(&self, socket_directory: &Path, port: u16) -> String {
        // No fsync, because only the machine's own crash would need it. Commits stay synchronous: tests kill servers,
        // and what was committed must be there afterwards. They run beside each other, and each wants the workers that it
        // asks for.
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             fsync = off\nfull_page_writes = off\n\
             max_worker_processes = 40\nmax_parallel_workers = 30\n",
            socket_directory.display()
        );
        if let Some(libraries) = &self.preload {
            text += &format!("shared_preload_libraries = '{libraries}'\n");
        }
        for line in &self.lines {
            text += line;
            text.push('\n');
        }
        text
    }
}
