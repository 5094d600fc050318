//! A connection that shows what it sends and what comes back, as psql would.

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{ContentArrangement, Table, presets};
use orgscope_cluster::Cluster;
use postgres::SimpleQueryMessage;
use postgres::error::DbError;

/// Fits a wide terminal and a README.
const WIDTH: u16 = 110;
/// The further lines of a statement in story.rs are indented like the code around them.
const CODE_INDENT: &str = "         ";

pub struct Session {
    role: &'static str,
    client: postgres::Client,
}

/// The rows of a result, as text; `None` is NULL.
pub struct Rows(Vec<Vec<Option<String>>>);

impl Session {
    pub fn open(cluster: &Cluster, role: &'static str, database: &str) -> Result<Self> {
        Ok(Self { role, client: cluster.connect(role, database)? })
    }

    /// Runs statements that must succeed and shows the rows of those that return any.
    pub fn run(&mut self, sql: &str) -> Result<Rows> {
        self.show(sql);
        let messages = self.client.simple_query(sql).with_context(|| format!("this must succeed: {sql}"))?;
        let mut headings: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    headings = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
                }
                _ => {}
            }
        }
        let rows = Rows(rows);
        if !headings.is_empty() {
            println!("{}\n", rows.table(&headings));
        }
        Ok(rows)
    }

    /// Runs statements that must be refused with this SQLSTATE, a DETAIL and a HINT.
    pub fn refused(&mut self, sqlstate: &str, sql: &str) -> Result<()> {
        self.show(sql);
        let Err(error) = self.client.simple_query(sql) else {
            bail!("this must be refused with {sqlstate}, but succeeded: {sql}");
        };
        self.client.batch_execute("ROLLBACK")?;
        let error = error.as_db_error().context("the connection failed")?;
        print_error(error);
        ensure!(error.code().code() == sqlstate, "expected {sqlstate}, got {}", error.code().code());
        ensure!(error.detail().is_some() && error.hint().is_some(), "{sqlstate} came without DETAIL or HINT");
        Ok(())
    }

    /// Nobody wants to read the whole of a token.
    fn show(&self, sql: &str) {
        let tokens = sql.split('\'').filter(|text| text.starts_with("eyJ"));
        let sql = tokens.fold(sql.to_owned(), |sql, token| sql.replace(token, &format!("{}…", &token[..16])));
        for (number, line) in sql.lines().enumerate() {
            let line = line.strip_prefix(CODE_INDENT).unwrap_or(line);
            println!("{}{} {line}", self.role, if number == 0 { "=>" } else { "->" });
        }
    }
}

impl Rows {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All values of one column; NULL as an empty text.
    pub fn column(&self, index: usize) -> Vec<&str> {
        self.0.iter().map(|row| row[index].as_deref().unwrap_or_default()).collect()
    }

    fn table(&self, headings: &[String]) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(WIDTH).set_header(headings);
        for row in &self.0 {
            table.add_row(row.iter().map(|value| value.as_deref().unwrap_or("∅")));
        }
        table
    }
}

fn print_error(error: &DbError) {
    println!("ERROR:  {}: {}", error.code().code(), error.message());
    if let Some(detail) = error.detail() {
        println!("DETAIL:  {detail}");
    }
    if let Some(hint) = error.hint() {
        println!("HINT:  {hint}");
    }
    println!();
}
