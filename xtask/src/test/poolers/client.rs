//! A client program: a few connections, each in a thread, until its standard input ends or it is killed.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::cases::Cases;
use super::session::Session;
use super::tally::Tally;

/// How often it tells what it has done. What a killed client did since is not counted.
const REPORT: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Options {
    /// Of the pooler, on this machine
    #[arg(long)]
    pub port: u16,
    #[arg(long)]
    pub cases: Cases,
    #[arg(long)]
    pub connections: u64,
    #[arg(long)]
    pub seed: u64,
}

pub fn run(options: &Options) -> Result<()> {
    let (total, stop) = (Arc::new(Mutex::new(Tally::default())), Arc::new(AtomicBool::new(false)));
    let mut threads = Vec::new();
    for i in 0..options.connections {
        let (port, cases, seed) = (options.port, options.cases, options.seed * options.connections + i);
        let (total, stop) = (Arc::clone(&total), Arc::clone(&stop));
        threads.push(thread::spawn(move || work(port, seed, cases, &total, &stop)));
    }
    let at_end = Arc::clone(&stop);
    thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        at_end.store(true, Ordering::Relaxed);
    });
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(REPORT);
        report(&total)?;
    }
    threads.into_iter().for_each(|thread| _ = thread.join());
    report(&total)
}

fn report(total: &Mutex<Tally>) -> Result<()> {
    let line = serde_json::to_string(&*total.lock().unwrap_or_else(PoisonError::into_inner))?;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// A client that cannot go on counts as a wrong answer.
fn work(port: u16, seed: u64, cases: Cases, total: &Mutex<Tally>, stop: &AtomicBool) {
    let add = |tally: &mut Tally| {
        total.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
        *tally = Tally::default();
    };
    let mut failed = Tally::default();
    let problem = match Session::open(port, seed) {
        Ok(mut session) => loop {
            let result = cases.run_one(&mut session);
            add(&mut session.tally);
            match result {
                Ok(()) if stop.load(Ordering::Relaxed) => return,
                Ok(()) => {}
                Err(problem) => break problem,
            }
        },
        Err(problem) => problem,
    };
    failed.wrong("connection", &format!("{problem:#}"));
    add(&mut failed);
}
