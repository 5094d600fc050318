//! What is measured.

/// Seen by an organization: half of all rows, or 1,000.
#[derive(Clone, Copy)]
pub enum Organization {
    Big,
    Small,
    /// Another small one each time, because the case changes its rows.
    NextSmall,
}

pub enum Kind {
    /// A script of tests/bench, run by pgbench for a while; the result is the time of one transaction.
    Pgbench { script: &'static str, protocol: &'static str },
    /// One statement, timed at the client; the result is the median of the repetitions.
    Statement(Statement),
}

pub struct Statement {
    pub sql: &'static str,
    pub repeat: u32,
    /// Startup options besides the context.
    pub settings: &'static str,
    pub rows: Rows,
}

/// What the statement must return or change: a variant that does less would only look fast.
#[derive(Clone, Copy)]
pub enum Rows {
    CountOfSmall,
    CountOfLabels,
    UpdatedSmall,
    Bulk,
}

pub struct Case {
    pub name: &'static str,
    pub organization: Organization,
    pub kind: Kind,
    /// The ratio to the plain table that orgscope has to keep.
    pub target: Option<f64>,
}

/// Without this a small organization's rows are found by the index, which is another case.
const NO_INDEX: &str = "-c enable_indexscan=off -c enable_indexonlyscan=off -c enable_bitmapscan=off";

pub const CASES: [Case; 9] = [
    Case {
        name: "full scan",
        organization: Organization::Small,
        kind: Kind::Statement(Statement {
            sql: "SELECT count(*) FROM {items}{where_organization}",
            repeat: 5,
            settings: NO_INDEX,
            rows: Rows::CountOfSmall,
        }),
        target: Some(1.20),
    },
    Case {
        name: "point read, prepared",
        organization: Organization::Big,
        kind: Kind::Pgbench { script: "point_read.sql", protocol: "prepared" },
        target: Some(1.05),
    },
    Case {
        name: "point read, simple",
        organization: Organization::Big,
        kind: Kind::Pgbench { script: "point_read.sql", protocol: "simple" },
        target: None,
    },
    Case {
        name: "point read, own transaction",
        organization: Organization::Big,
        kind: Kind::Pgbench { script: "own_transaction.sql", protocol: "prepared" },
        target: None,
    },
    Case {
        name: "index range, 1,000 rows",
        organization: Organization::Small,
        kind: Kind::Pgbench { script: "index_range.sql", protocol: "prepared" },
        target: Some(1.05),
    },
    Case {
        name: "insert of one row",
        organization: Organization::Big,
        kind: Kind::Pgbench { script: "insert_one.sql", protocol: "prepared" },
        target: Some(1.10),
    },
    Case {
        name: "insert of many rows",
        organization: Organization::Big,
        kind: Kind::Statement(Statement {
            sql: "INSERT INTO {entries} ({organization_column}amount, body) \
                  SELECT {organization_value}n % 1000, 'body of entry ' || n FROM generate_series(1, {bulk}) AS n",
            repeat: 1,
            settings: "",
            rows: Rows::Bulk,
        }),
        target: Some(1.25),
    },
    Case {
        name: "update of 1,000 rows",
        organization: Organization::NextSmall,
        kind: Kind::Statement(Statement {
            sql: "UPDATE {items} SET amount = amount + 1{where_organization}",
            repeat: 3,
            settings: "",
            rows: Rows::UpdatedSmall,
        }),
        target: None,
    },
    Case {
        name: "half of all rows, joined",
        organization: Organization::Big,
        kind: Kind::Statement(Statement {
            sql: "SELECT count(*) FROM {items} JOIN label ON label.item_id = {items}.id{where_organization}",
            repeat: 3,
            settings: "",
            rows: Rows::CountOfLabels,
        }),
        target: None,
    },
];
