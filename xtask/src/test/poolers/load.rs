//! Client programs at work, one of them killed now and then in the middle of what it does.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cases::Cases;
use super::pgbouncer::Pooler;
use super::tally::Tally;
use crate::project;

const PROGRAMS: u64 = 8;
const CONNECTIONS: u64 = 8;
/// Between two looks at the server, each with a kill.
const BEAT: Duration = Duration::from_millis(400);
/// Longer than any transaction; the load has then come to a standstill.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Done {
    pub tally: Tally,
    pub killed: u64,
    pub seconds: f64,
    /// Server connections in the middle of the load.
    pub servers: i64,
}

struct Program {
    process: Child,
    last: Arc<Mutex<Tally>>,
    reader: JoinHandle<()>,
}

/// Runs at least so many transactions over the pooler; `servers` says how many connections it has to the server.
pub fn run(pooler: &Pooler, cases: Cases, transactions: u64, servers: impl Fn() -> Result<i64>) -> Result<Done> {
    let started = Instant::now();
    let mut seed = 0;
    let mut next = || {
        seed += 1;
        Program::start(pooler.port, cases, seed)
    };
    let mut programs = (0..PROGRAMS).map(|_| next()).collect::<Result<Vec<_>>>()?;
    let (mut ended, mut killed, mut seen) = (Tally::default(), 0, 0);
    let (mut beat_at, mut progress) = (started + BEAT, Progress { done: 0, at: started });
    loop {
        thread::sleep(Duration::from_millis(50));
        let done = programs.iter().fold(ended.transactions, |sum, program| sum + program.tally().transactions);
        if done >= transactions {
            break;
        }
        progress.note(done)?;
        if Instant::now() < beat_at {
            continue;
        }
        beat_at += BEAT;
        seen = seen.max(servers()?);
        if pooler.survives_kills {
            let victim = (killed % PROGRAMS) as usize;
            ended.add(&std::mem::replace(&mut programs[victim], next()?).kill()?);
            killed += 1;
        }
    }
    for program in programs {
        ended.add(&program.finish()?);
    }
    Ok(Done { tally: ended, killed, seconds: started.elapsed().as_secs_f64(), servers: seen })
}

struct Progress {
    done: u64,
    at: Instant,
}

impl Progress {
    fn note(&mut self, done: u64) -> Result<()> {
        if done > self.done {
            *self = Self { done, at: Instant::now() };
        }
        ensure!(self.at.elapsed() < PATIENCE, "nothing moves any more after {done} transactions");
        Ok(())
    }
}

impl Program {
    fn start(port: u16, cases: Cases, seed: u64) -> Result<Self> {
        let name = <Cases as clap::ValueEnum>::to_possible_value(&cases).context("every kind of load has a name")?;
        let mut command = project::dependent(project::this_program()?);
        command.args(["pooler-client", "--cases", name.get_name(), "--port", &port.to_string()]);
        command.args(["--connections", &CONNECTIONS.to_string(), "--seed", &seed.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().context("the client's output was asked for")?);
        let last = Arc::new(Mutex::new(Tally::default()));
        let read = Arc::clone(&last);
        let reader = thread::spawn(move || {
            // The last line of a killed program may be half of one.
            for tally in output.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                *read.lock().unwrap_or_else(PoisonError::into_inner) = tally;
            }
        });
        Ok(Self { process, last, reader })
    }

    fn tally(&self) -> Tally {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `kill -9`: its connections end without a word, with whatever was open on them.
    fn kill(mut self) -> Result<Tally> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(self.read_to_the_end())
    }

    fn finish(mut self) -> Result<Tally> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "a client program ended with {status}");
        Ok(self.read_to_the_end())
    }

    fn read_to_the_end(self) -> Tally {
        // It ends with the output, and cannot panic.
        let _ = self.reader.join();
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
