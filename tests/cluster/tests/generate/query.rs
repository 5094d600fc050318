//! Generated statements over scoped tables, in two spellings: plain, and with each table cut down to one organization.

use super::{Random, Table, quote, value};

/// A statement; each table it reads stands as `{T<number>}`.
pub struct Query {
    text: String,
    /// Whether the order of the rows is fixed.
    pub ordered: bool,
}

impl Query {
    /// As the application writes it.
    pub fn plain(&self, tables: &[Table]) -> String {
        self.spell(tables, |table| quote(&table.name))
    }

    /// As somebody writes it who sees everything.
    pub fn cut_down(&self, tables: &[Table], org: &str) -> String {
        self.spell(tables, |t| format!("(SELECT * FROM {} WHERE {} = '{org}')", quote(&t.name), quote(&t.org)))
    }

    fn spell(&self, tables: &[Table], source: impl Fn(&Table) -> String) -> String {
        tables.iter().enumerate().fold(self.text.clone(), |text, (i, t)| text.replace(&format!("{{T{i}}}"), &source(t)))
    }

    pub fn generate(r: &mut Random, tables: &[Table]) -> Self {
        let (a, b) = (Source::pick(r, tables, "a"), Source::pick(r, tables, "b"));
        let ordered = |text| Self { text, ordered: true };
        let text = match r.below(17) {
            0 => format!("SELECT a.* FROM {a} WHERE {}", a.filter(r)),
            1 => join(r, &a, &b),
            2 => aggregate(r, &a),
            3 => format!(
                "SELECT a.* FROM {a} WHERE {} {} (SELECT {} FROM {b} WHERE {})",
                a.key(),
                r.pick(&["IN", "NOT IN", "= ANY", "> ALL"]),
                b.key(),
                b.filter(r)
            ),
            4 => format!(
                "SELECT a.* FROM {a} WHERE {} EXISTS (SELECT FROM {b} WHERE {} AND {})",
                r.pick(&["", "NOT"]),
                same(r, &a, &b),
                b.filter(r)
            ),
            5 => format!("SELECT {}, (SELECT count(*) FROM {b} WHERE {}) FROM {a}", a.key(), same(r, &a, &b)),
            6 => {
                return ordered(format!(
                    "SELECT a.* FROM {a} WHERE {} ORDER BY {} {} LIMIT {} OFFSET {}",
                    a.filter(r),
                    a.key(),
                    r.pick(&["ASC", "DESC"]),
                    r.below(9),
                    r.below(4)
                ));
            }
            7 => window(r, &a),
            8 => cte(r, &a, &b),
            9 => format!("SELECT DISTINCT {} FROM {a} WHERE {}", a.some(r), a.filter(r)),
            10 => {
                let c = a.some(r);
                return ordered(format!("SELECT DISTINCT ON ({c}) a.* FROM {a} ORDER BY {c}, {}", a.key()));
            }
            11 => format!(
                "SELECT {}::text FROM {a} {} SELECT {}::text FROM {b}",
                a.some(r),
                r.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"]),
                b.some(r)
            ),
            12 => format!(
                "SELECT {}, l.* FROM {a} {} JOIN LATERAL (SELECT {} FROM {b} WHERE {} ORDER BY {} LIMIT 2) l ON true",
                a.key(),
                r.pick(&["INNER", "LEFT"]),
                b.key(),
                same(r, &a, &b),
                b.key()
            ),
            13 => format!(
                "SELECT {x}, {y}, count(*) FROM {a} GROUP BY GROUPING SETS (({x}), ({y}), ())",
                x = a.some(r),
                y = a.key()
            ),
            14 => format!("SELECT count(*), count(DISTINCT {0}), min({0}::text), max({0}::text) FROM {a}", a.some(r)),
            15 => {
                let c = Source::pick(r, tables, "c");
                format!("SELECT count(*) FROM {a}, {b}, {c} WHERE {} AND {}", same(r, &a, &b), same(r, &b, &c))
            }
            _ => format!(
                "WITH RECURSIVE w (k) AS (SELECT min({}) FROM {a} UNION SELECT {} FROM w JOIN {b} ON {} = w.k + 1) SELECT * FROM w",
                a.key(),
                b.key(),
                b.key()
            ),
        };
        Self { text, ordered: false }
    }
}

/// A table under an alias.
struct Source<'a> {
    number: usize,
    table: &'a Table,
    alias: &'static str,
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{{T{}}} AS {}", self.number, self.alias)
    }
}

impl<'a> Source<'a> {
    fn pick(r: &mut Random, tables: &'a [Table], alias: &'static str) -> Self {
        let number = r.below(tables.len());
        Self { number, table: &tables[number], alias }
    }

    fn key(&self) -> String {
        format!("{}.{}", self.alias, quote(&self.table.key))
    }

    fn some(&self, r: &mut Random) -> String {
        self.column(r).0
    }

    /// A column and its type; the organization is one of them.
    fn column(&self, r: &mut Random) -> (String, &'static str) {
        let columns = &self.table.columns;
        match r.below(columns.len() + 1) {
            n if n < columns.len() => (format!("{}.{}", self.alias, quote(&columns[n].name)), columns[n].kind),
            _ => (format!("{}.{}", self.alias, quote(&self.table.org)), "uuid"),
        }
    }

    fn filter(&self, r: &mut Random) -> String {
        let one = |r: &mut Random| {
            let (column, kind) = self.column(r);
            match r.below(7) {
                0 => format!("{column} IS {}NULL", r.pick(&["", "NOT "])),
                1 => format!("{column} IS NOT DISTINCT FROM {}", value(r, kind)),
                2 => format!("{column} IN ({}, {})", value(r, kind), value(r, kind)),
                3 => format!("{column}::text LIKE '%{}%'", r.below(3)),
                4 => format!("{} % {} = 0", self.key(), r.below(3) + 1),
                5 => format!("length({column}::text) > {}", r.below(5)),
                _ => format!("{column} {} {}", r.pick(&["=", "<>", "<", ">=", "<="]), value(r, kind)),
            }
        };
        let (left, right) = (one(r), one(r));
        match r.below(5) {
            0 => format!("({left} AND {right})"),
            1 => format!("({left} OR {right})"),
            2 => format!("NOT COALESCE({left}, false)"),
            _ => left,
        }
    }
}

/// A condition that some rows of two tables meet, also rows of different organizations if there were any.
fn same(r: &mut Random, a: &Source, b: &Source) -> String {
    for _ in 0..4 {
        let ((x, x_kind), (y, y_kind)) = (a.column(r), b.column(r));
        if x_kind == y_kind {
            return format!("{x} = {y}");
        }
    }
    let by = r.below(4) + 2;
    format!("{} % {by} = {} % {by}", a.key(), b.key())
}

fn join(r: &mut Random, a: &Source, b: &Source) -> String {
    let kind = r.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    // FULL JOIN needs a condition that can be hashed or merged.
    let on = if kind == "FULL JOIN" { format!("{} = {}", a.key(), b.key()) } else { same(r, a, b) };
    let filter = if r.chance(50) { a.filter(r) } else { "true".into() };
    format!("SELECT a.*, {} FROM {a} {kind} {b} ON {on} WHERE {filter}", b.some(r))
}

fn aggregate(r: &mut Random, a: &Source) -> String {
    let (group, other) = (a.some(r), a.some(r));
    format!(
        "SELECT {group}, count({other}), sum({key}), string_agg({other}::text, ',' ORDER BY {key}) FILTER (WHERE {}) FROM {a} WHERE {} GROUP BY {group} HAVING count(*) > {}",
        a.filter(r),
        a.filter(r),
        r.below(3),
        key = a.key()
    )
}

fn window(r: &mut Random, a: &Source) -> String {
    let (part, other, key) = (a.some(r), a.some(r), a.key());
    format!(
        "SELECT {key}, row_number() OVER w, lag({other}) OVER w, sum({key}) OVER (w ROWS 2 PRECEDING), count(*) OVER () FROM {a} WINDOW w AS (PARTITION BY {part} ORDER BY {key})"
    )
}

fn cte(r: &mut Random, a: &Source, b: &Source) -> String {
    let kind = r.pick(&["", "MATERIALIZED", "NOT MATERIALIZED"]);
    format!(
        "WITH x AS {kind} (SELECT {} AS k, count(*) AS n FROM {b} GROUP BY 1) SELECT {}, x.*, y.n FROM {a} JOIN x ON x.k = {} LEFT JOIN x y ON y.k = x.k + 1 WHERE {}",
        b.key(),
        a.some(r),
        a.key(),
        a.filter(r)
    )
}
