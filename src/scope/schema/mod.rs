//! A whole schema at once: what becomes of each table (`propose`, pure), then each table's own plan, parents first.

mod overrides;
mod propose;
#[cfg(test)]
mod tests;
mod waiting;

use crate::error::Error;
use crate::pg::{as_superuser, text_datum};
use crate::pg_function;
use crate::scope::options::Options;
use crate::scope::{Step, apply, facts, keep, lock_and_enable, planned, share};
use crate::spi;
use overrides::Overrides;
use propose::{Proposal, Schema, Table, propose};
use serde::Serialize;
use serde_json::Value;

/// One row of orgscope.schema_scoping_step.
#[derive(Serialize)]
struct SchemaStep<'a> {
    target: &'a str,
    proposal: &'static str,
    step: Option<usize>,
    kind: Option<&'static str>,
    sql: Option<String>,
    lock: Option<&'static str>,
    reason: Option<String>,
}

/// What the caller wants of the whole schema.
struct Wanted {
    column: String,
    overrides: Overrides,
    options: Options,
}

pg_function! {
    /// `orgscope.run_schema_scoping(verb text, schema_name text, options text) → text`: the steps, as JSON.
    fn orgscope_run_schema_scoping(call) {
        let verb = call.text(0).unwrap_or_default();
        let name = call.text(1).unwrap_or_default();
        let wanted = Wanted::parse(&call.text(2).unwrap_or_else(|| "{}".into()))?;
        let mut schema = read(&name, &wanted)?;
        let steps = match verb.as_str() {
            "plan" => show(&propose(&schema, &wanted.overrides), &wanted)?,
            "enable" => {
                lock(&mut schema, &name, &wanted)?;
                enable_all(&propose(&schema, &wanted.overrides), &wanted)?
            }
            other => return Err(Error::Internal { what: format!("unknown verb \"{other}\"") }),
        };
        let json = serde_json::to_string(&steps).map_err(|e| Error::Internal { what: e.to_string() })?;
        Ok(Some(text_datum(&json)))
    }
}

impl Wanted {
    /// `column_name` and `overrides` are the schema's, everything else is each table's.
    fn parse(options: &str) -> Result<Self, Error> {
        let mut value: Value = serde_json::from_str(options).map_err(|e| Error::Internal { what: e.to_string() })?;
        let mut take = |key: &str| value.as_object_mut().and_then(|o| o.remove(key));
        let column = match take("column_name") {
            None => "organization_id".into(),
            Some(Value::String(name)) => name,
            Some(_) => return Err(invalid("\"column_name\" is not a string.".into())),
        };
        let overrides = match take("overrides") {
            None => Overrides::default(),
            Some(json) => serde_json::from_value(json).map_err(|e| invalid(format!("In \"overrides\": {e}.")))?,
        };
        Ok(Self { column, overrides, options: Options::parse(&value.to_string())? })
    }

    fn of(&self, proposal: &Proposal) -> Options {
        let own = match proposal {
            Proposal::Scope { backfill } => backfill.clone(),
            Proposal::ByParent { backfill, .. } => Some(backfill.clone()),
            _ => None,
        };
        Options { backfill: own.or_else(|| self.options.backfill.clone()), ..self.options.clone() }
    }
}

fn read(name: &str, wanted: &Wanted) -> Result<Schema, Error> {
    let json = as_superuser(|| spi::query(include_str!("facts.sql"), &[Some(name), Some(&wanted.column)]));
    let json = json.ok_or_else(|| {
        conflict(format!("schema \"{name}\" does not exist"), "No schema has this name.".into(), "Check the name.")
    })?;
    let schema: Schema =
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("facts of a schema: {e}") })?;
    match wanted.overrides.unknown(&schema.tables)[..] {
        [] => Ok(schema),
        ref unknown => {
            Err(invalid(format!("\"overrides\" names what is no table of the schema: {}.", unknown.join(", "))))
        }
    }
}

/// Each table's own plan, as the tables are now.
fn show<'a>(proposals: &[(&'a Table, Proposal)], wanted: &Wanted) -> Result<Vec<SchemaStep<'a>>, Error> {
    let mut rows = Vec::new();
    for (table, proposal) in proposals {
        let planned = match proposal {
            Proposal::Scope { .. } | Proposal::ByParent { .. } => {
                facts::read(table.oid.into(), Some(&column(table, wanted)))
                    .and_then(|tree| planned(&tree, &wanted.of(proposal)))
            }
            Proposal::Share { .. } => share::planned(table.oid.into()).map(|(_, steps)| steps),
            _ => Ok(Vec::new()),
        };
        match planned {
            Ok(steps) => rows.extend(numbered(table, proposal, steps)),
            // One table that cannot be scoped must not hide the plan of all others.
            Err(Error::Conflict { message, detail, .. }) => {
                rows.extend(numbered(table, &refused(&message, &detail), Vec::new()));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(rows)
}

/// What the table's own plan says against it.
fn refused(message: &str, detail: &str) -> Proposal {
    let why = format!("{message}: {}", detail.trim_end_matches('.'));
    Proposal::Ask { why, overrides: Vec::new(), leads_nowhere: false }
}

/// All locks are taken before the first change, in the same order by everybody. While we wait others may bring more tables,
/// or change what is proposed for these.
fn lock(schema: &mut Schema, name: &str, wanted: &Wanted) -> Result<(), Error> {
    let mut locked = None;
    loop {
        let proposals = propose(schema, &wanted.overrides);
        refuse_open_questions(schema, &proposals)?;
        let chosen: Vec<_> = chosen(&proposals).map(|(table, proposal)| (table.oid, proposal.clone())).collect();
        if locked.as_ref() == Some(&chosen) {
            return Ok(());
        }
        apply::lock_all(chosen.iter().map(|(oid, _)| *oid).collect())?;
        locked = Some(chosen);
        *schema = read(name, wanted)?;
    }
}

fn chosen<'a, 'b>(proposals: &'b [(&'a Table, Proposal)]) -> impl Iterator<Item = &'b (&'a Table, Proposal)> {
    proposals.iter().filter(|(_, proposal)| {
        matches!(proposal, Proposal::Scope { .. } | Proposal::ByParent { .. } | Proposal::Share { .. })
    })
}

/// All or nothing: one transaction.
fn enable_all<'a>(proposals: &[(&'a Table, Proposal)], wanted: &Wanted) -> Result<Vec<SchemaStep<'a>>, Error> {
    let chosen: Vec<_> = chosen(proposals).collect();
    let mut rows = Vec::new();
    for (n, (table, proposal)) in chosen.iter().enumerate() {
        let size = if table.rows < 0 { String::new() } else { format!(", about {} rows", table.rows) };
        let (shared, target) = (matches!(proposal, Proposal::Share { .. }), table.oid.into());
        let doing = if shared { "sharing" } else { "scoping" };
        pgrx::notice!("{doing} table {} of {}: {}{size}", n + 1, chosen.len(), table.qualified);
        let steps = if shared {
            share::share(target)?
        } else {
            lock_and_enable(target, &column(table, wanted), &wanted.of(proposal), keep)?
        };
        if !steps.is_empty() {
            rows.extend(numbered(table, proposal, steps));
        }
    }
    Ok(rows)
}

/// A table that is scoped already keeps its column.
fn column(table: &Table, wanted: &Wanted) -> String {
    if table.registered { table.column.clone() } else { wanted.column.clone() }
}

/// The steps of one table; one row without a step where there are none.
fn numbered<'a>(table: &'a Table, proposal: &Proposal, steps: Vec<Step>) -> Vec<SchemaStep<'a>> {
    let (target, proposal_name) = (table.qualified.as_str(), proposal.name());
    if steps.is_empty() {
        let reason = proposal.reason();
        return vec![SchemaStep {
            target,
            proposal: proposal_name,
            step: None,
            kind: None,
            sql: None,
            lock: None,
            reason,
        }];
    }
    let told = |kind: &str, reason: String| match proposal {
        Proposal::ByParent { path, .. } if kind == "backfill" => format!("along {path}: {reason}"),
        Proposal::Share { asked } => format!("{}: {reason}", same_for_all(*asked)),
        _ => reason,
    };
    let row = |Step { step, kind, sql, lock, reason, .. }| SchemaStep {
        target,
        proposal: proposal_name,
        step: Some(step),
        kind: Some(kind),
        sql: Some(sql),
        lock: Some(lock),
        reason: Some(told(kind, reason)),
    };
    steps.into_iter().map(row).collect()
}

fn same_for_all(asked: bool) -> &'static str {
    if asked { "the same for all, as asked" } else { "no foreign key of it leads to an organization: the same for all" }
}

fn refuse_open_questions(schema: &Schema, proposals: &[(&Table, Proposal)]) -> Result<(), Error> {
    let open = proposals.iter().filter_map(|(table, proposal)| match proposal {
        Proposal::Ask { why, overrides, .. } => Some((table, why, overrides)),
        _ => None,
    });
    let open: Vec<_> = open.collect();
    let Some((first, _, choices)) = open.first() else { return Ok(()) };
    let mut detail: Vec<_> = open.iter().map(|(table, why, _)| format!("{}: {why}.", table.qualified)).collect();
    match proposals.iter().filter(|(_, proposal)| matches!(proposal, Proposal::Wait { .. })).count() {
        0 => {}
        waiting => detail.push(format!("Tables that wait for these: {waiting}.")),
    }
    let choice = choices.first().map_or("\"skip\"", String::as_str);
    let name = Value::from(first.qualified.as_str());
    let hint = format!("Decide in the options, for example {{\"overrides\": {{{name}: {choice}}}}}.");
    Err(conflict(format!("cannot scope schema \"{}\"", schema.schema), detail.join("\n"), &hint))
}

fn invalid(detail: String) -> Error {
    conflict(
        "invalid schema scoping options".into(),
        detail,
        "Beside a table's options: \"column_name\" (a string), \"overrides\" (per table or pattern of tables: \"scope\", \"share\", \"skip\", {\"by\": key}, {\"backfill\": expression}).",
    )
}

fn conflict(message: String, detail: String, hint: &str) -> Error {
    Error::Conflict { table: None, message, detail, hint: hint.into() }
}
