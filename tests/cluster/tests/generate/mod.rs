//! Seeded generation of tables with odd names; every failure names the seed that repeats it.
#![allow(dead_code)] // two test files use a part of it each

pub mod query;

/// SplitMix64: small, fast, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// `ORGSCOPE_SEED`, or one that differs from run to run.
    pub fn from_environment() -> (Self, u64) {
        let seed = std::env::var("ORGSCOPE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
        });
        (Self(seed), seed)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    pub fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

pub const TYPES: [&str; 9] =
    ["int", "bigint", "text", "boolean", "numeric(8,2)", "date", "uuid", "jsonb", "timestamptz"];

/// Parts of names that quoting, escaping, case folding and byte lengths trip over.
const ODD: [&str; 14] = [
    "plain",
    "MixedCase",
    "with space",
    "quo\"te",
    "apo'strophe",
    "select",
    "user",
    "ünïcödé",
    "表",
    "dot.dot",
    "$1",
    "back\\slash",
    "%I",
    "日本語の列",
];

pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// An odd name that contains `number`, so that no two are equal; one in five is exactly 63 bytes long.
pub fn name(r: &mut Random, number: usize) -> String {
    let mut name = format!("{}{number}", r.pick(&ODD));
    if r.chance(20) {
        let filler = r.pick(&["x", "é", "表", "\""]);
        while name.len() + filler.len() <= 63 {
            name.push_str(filler);
        }
        while name.len() < 63 {
            name.push('y');
        }
    }
    name
}

#[derive(Clone)]
pub struct Column {
    pub name: String,
    pub kind: &'static str,
}

/// How the rows of a table lie in other tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    Plain,
    /// By LIST, RANGE or HASH of the key.
    Partitioned(&'static str),
    /// By LIST or HASH of the organization.
    ByOrganization(&'static str),
    Inherited,
    /// It is below another table, and rows come through that.
    Member,
}

pub struct Table {
    pub name: String,
    pub key: String,
    pub org: String,
    pub columns: Vec<Column>,
    pub layout: Layout,
    /// Partitions and children, in no order.
    pub below: Vec<String>,
}

impl Table {
    pub fn generate(r: &mut Random, number: usize) -> Self {
        let columns = (0..=r.below(6)).map(|i| Column { name: name(r, i), kind: r.pick(&TYPES) }).collect();
        let org = if r.chance(40) { "organization_id".into() } else { name(r, 90) };
        let layout = match r.below(10) {
            0 => Layout::Partitioned("LIST"),
            1 => Layout::Partitioned("RANGE"),
            2 => Layout::Partitioned("HASH"),
            3 => Layout::ByOrganization(r.pick(&["LIST", "HASH"])),
            4 => Layout::Inherited,
            _ => Layout::Plain,
        };
        let below = if layout == Layout::Plain { 0 } else { 3 };
        let below = (0..below).map(|i| name(r, 1000 + number * 10 + i)).collect();
        Self { name: name(r, number), key: name(r, 80), org, columns, layout, below }
    }

    /// CREATE TABLE, with the key and the organization at random places and sometimes a dropped column before them.
    pub fn create(&self, r: &mut Random) -> String {
        let mut columns: Vec<String> = self.columns.iter().map(|c| format!("{} {}", quote(&c.name), c.kind)).collect();
        let primary = if matches!(self.layout, Layout::ByOrganization(_)) { "NOT NULL" } else { "PRIMARY KEY" };
        columns.insert(r.below(columns.len() + 1), format!("{} int {primary}", quote(&self.key)));
        columns.insert(r.below(columns.len() + 1), format!("{} uuid", quote(&self.org)));
        let dropped = r.chance(30);
        if dropped {
            columns.insert(r.below(columns.len()), "dropped text".into());
        }
        let table = quote(&self.name);
        let drop = if dropped { format!("; ALTER TABLE {table} DROP COLUMN dropped") } else { String::new() };
        let (by, below) = self.layout();
        format!("CREATE TABLE {table} ({}){by}{drop}{below}", columns.join(", "))
    }

    /// PARTITION BY, and the tables below: the second is partitioned once more.
    fn layout(&self) -> (String, String) {
        let (table, key, org) = (quote(&self.name), quote(&self.key), quote(&self.org));
        let (column, strategy) = match self.layout {
            Layout::Plain | Layout::Member => return (String::new(), String::new()),
            Layout::Inherited => {
                let parents = [&table, &table, &quote(&self.below[0])].map(String::clone);
                let children = self.below.iter().zip(parents).map(|(child, parent)| {
                    let child = quote(child);
                    format!("; CREATE TABLE {child} () INHERITS ({parent})")
                });
                return (String::new(), children.collect());
            }
            Layout::Partitioned(strategy) => (key.clone(), strategy),
            Layout::ByOrganization(strategy) => (org, strategy),
        };
        let bounds = match (self.layout, strategy) {
            (_, "HASH") => ["FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "FOR VALUES WITH (MODULUS 2, REMAINDER 1)"],
            (Layout::ByOrganization(_), _) => [
                "FOR VALUES IN ('aaaaaaaa-0000-7000-8000-000000000001', 'cccccccc-0000-7000-8000-000000000003')",
                "DEFAULT",
            ],
            (_, "RANGE") => ["FOR VALUES FROM (MINVALUE) TO (20)", "DEFAULT"],
            _ => ["FOR VALUES IN (1, 2, 3, 5, 8, 13, 21, 34, 55, NULL)", "DEFAULT"],
        };
        let [first, second, third] = [0, 1, 2].map(|i| quote(&self.below[i]));
        let below = format!(
            "; CREATE TABLE {first} PARTITION OF {table} {}; CREATE TABLE {second} PARTITION OF {table} {} PARTITION BY LIST ({key}); CREATE TABLE {third} PARTITION OF {second} DEFAULT",
            bounds[0], bounds[1]
        );
        (format!(" PARTITION BY {strategy} ({column})"), below)
    }

    /// A table that holds rows: for inheritance also one below, which a statement may name.
    pub fn holder(&self, r: &mut Random) -> &str {
        match self.layout {
            Layout::Inherited if r.chance(50) => &self.below[r.below(self.below.len())],
            _ => &self.name,
        }
    }

    /// The tables below, as queries name them.
    pub fn members(&self) -> impl Iterator<Item = Self> {
        self.below.iter().map(|below| Self {
            name: below.clone(),
            key: self.key.clone(),
            org: self.org.clone(),
            columns: self.columns.clone(),
            layout: Layout::Member,
            below: Vec::new(),
        })
    }

    pub fn insert(&self, r: &mut Random, key: usize, org: &str) -> String {
        let names: Vec<_> = self.columns.iter().map(|c| quote(&c.name)).collect();
        let values: Vec<_> = self.columns.iter().map(|c| value(r, c.kind)).collect();
        let holder = quote(self.holder(r));
        format!(
            "INSERT INTO {} ({}, {}, {}) VALUES ({key}, '{org}', {})",
            holder,
            quote(&self.key),
            quote(&self.org),
            names.join(", "),
            values.join(", ")
        )
    }
}

/// A literal of a type; few different ones, so that joins and groups meet.
pub fn value(r: &mut Random, kind: &str) -> String {
    if r.chance(12) {
        return "NULL".into();
    }
    let n = r.below(6);
    match kind {
        "int" | "bigint" => format!("{}", n as i64 - 2),
        "text" => literal(["", "a", "b", "Ä", "a'b", "%"][n]),
        "boolean" => if n < 3 { "true" } else { "false" }.into(),
        "numeric(8,2)" => format!("{n}.5"),
        "date" => format!("date '2024-02-2{n}'"),
        "uuid" => format!("uuid '0000000{n}-0000-7000-8000-000000000000'"),
        "jsonb" => format!("jsonb {}", ["'{}'", "'[]'", "'1'", "'{\"a\": 1}'", "'\"x\"'", "'null'"][n]),
        _ => format!("timestamptz '2024-02-2{n} 12:00:00+00'"),
    }
}
