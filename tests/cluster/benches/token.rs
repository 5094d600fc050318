//! What a signed context costs a transaction, beside a plain one: `cargo xtask bench --token`.
//!
//! Here and not in xtask, which would have to be built with what signs tokens.

#[path = "../tests/token/keys.rs"]
#[allow(dead_code)] // the tests' issuer, of which this uses a part
mod keys;

use std::collections::BTreeMap;
use std::time::Instant;

use orgscope_cluster::{Cluster, Options, SUPERUSER};
use postgres::Client;
use serde_json::json;

const ORGANIZATION: &str = "01900000-0000-7000-8000-000000000001";
const TABLE: &str = "
    CREATE EXTENSION orgscope;
    CREATE ROLE app LOGIN;
    CREATE TABLE ticket (id int PRIMARY KEY, title text, organization_id uuid NOT NULL DEFAULT '01900000-0000-7000-8000-000000000001');
    INSERT INTO orgscope.organization (id, name, slug) VALUES ('01900000-0000-7000-8000-000000000001', 'Bench', 'bench');
    INSERT INTO ticket SELECT n, 'ticket ' || n FROM generate_series(1, 1000) n;
    CREATE TABLE plain AS SELECT * FROM ticket;
    ALTER TABLE plain ADD PRIMARY KEY (id);
    SELECT FROM orgscope.enable_org_scoping('ticket');
    GRANT SELECT ON ticket, plain TO app";

/// Transactions of one figure, and how often it is taken.
const TRANSACTIONS: usize = 500;
const ROUNDS: usize = 9;

/// Each begins, sets the context, reads a row by its key and commits, in one message.
const WAYS: [&str; 6] = [
    "plain table, no context",
    "SET LOCAL orgscope.current_org",
    "one token, again and again: EdDSA",
    "a new token each time: HS256",
    "a new token each time: ES256",
    "a new token each time: EdDSA",
];

fn main() {
    let options = Options::default()
        .line(&format!("orgscope.jwks = '{}'", keys::jwks(keys::keys())))
        .line("jit = off")
        .line("autovacuum = off");
    let cluster = Cluster::start(&options).unwrap();
    cluster.create_database("bench").unwrap();
    cluster.connect(SUPERUSER, "bench").unwrap().batch_execute(TABLE).unwrap();
    let mut app = cluster.connect("app", "bench").unwrap();
    let mut times: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for way in 0..WAYS.len() {
            let statements: Vec<String> =
                (0..TRANSACTIONS).map(|n| transaction(way, round * TRANSACTIONS + n)).collect();
            times.entry(way).or_default().push(measure(&mut app, &statements));
        }
    }
    println!("\nmicroseconds a transaction, median of {ROUNDS} rounds of {TRANSACTIONS}:\n");
    for (way, mut found) in times {
        found.sort_by(f64::total_cmp);
        println!("- {}: {:.1}", WAYS[way], found[ROUNDS / 2]);
    }
}

fn transaction(way: usize, number: usize) -> String {
    let read = |table: &str| format!("SELECT title FROM {table} WHERE id = {}", number % 1000 + 1);
    let token = |key: usize, subject: usize| {
        let claims = keys::with(ORGANIZATION, json!({"sub": format!("user {subject}")}));
        format!("SET LOCAL orgscope.token = '{}'", keys::keys()[key].sign(&claims))
    };
    let context = match way {
        0 => return format!("BEGIN; {}; COMMIT", read("plain")),
        1 => format!("SET LOCAL orgscope.current_org = '{ORGANIZATION}'"),
        2 => repeated().to_owned(),
        3 => token(3, number),
        4 => token(1, number),
        _ => token(0, number),
    };
    format!("BEGIN; {context}; {}; COMMIT", read("ticket"))
}

fn repeated() -> &'static str {
    static TOKEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TOKEN.get_or_init(|| format!("SET LOCAL orgscope.token = '{}'", keys::token(ORGANIZATION)))
}

fn measure(app: &mut Client, statements: &[String]) -> f64 {
    let started = Instant::now();
    for statement in statements {
        app.simple_query(statement).unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / statements.len() as f64
}
