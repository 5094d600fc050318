//! One call of a trigger function: the table, the event, and the organization in the old and new row. The name of the
//! organization column is a row trigger's first argument.

use crate::context::value::Org;
use crate::error::Error;
use crate::guard::began::by_integrity;
use crate::guard::{row_security_bypassed, table_name};
use crate::pg::{Call, uuid_datum};
use crate::policy::HISTORY;
use pgrx::pg_sys;
use std::ffi::{CStr, c_char};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Event {
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }

    /// As one ACL bit.
    pub fn privilege(self) -> u64 {
        u64::from(match self {
            Self::Insert => pg_sys::ACL_INSERT,
            Self::Update => pg_sys::ACL_UPDATE,
            Self::Delete => pg_sys::ACL_DELETE,
            Self::Truncate => pg_sys::ACL_TRUNCATE,
        })
    }
}

/// How a trigger function must be attached: anybody may attach it to a table of their own in any other way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    BeforeRow,
    AfterRow,
    BeforeStatement,
    AfterStatement,
}

pub struct Trigger {
    data: *mut pg_sys::TriggerData,
    call: Call,
}

/// A relation's triggers.
///
/// # Safety
/// The descriptor of a relation that stays open. Plain frame.
pub unsafe fn triggers_of<'a>(relation: pg_sys::Relation) -> &'a [pg_sys::Trigger] {
    // SAFETY: as many triggers as it says.
    unsafe {
        let triggers = (*relation).trigdesc;
        if triggers.is_null() {
            return &[];
        }
        std::slice::from_raw_parts((*triggers).triggers, (*triggers).numtriggers as usize)
    }
}

/// What the catalogs said, kept in `fn_extra` for the statement: the executor gives each trigger of a statement a
/// `flinfo` of its own.
struct Asked {
    attribute: i16,
    /// Asked when it is first needed: a normal row's `fill` and `guard` never do.
    bypasses: Option<bool>,
}

impl Trigger {
    /// Refuses a call from SQL, and a trigger of another shape: it would have no row where one is read.
    pub fn of(call: Call, function: &'static str, shape: Shape) -> Result<Self, Error> {
        // SAFETY: a trigger call carries a TriggerData node in `context`, any other call NULL or another node.
        unsafe {
            let context = (*call.0).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return Err(Error::NotATrigger { function });
            }
            let trigger = Self { data: context.cast(), call };
            if trigger.shape() == Some(shape) { Ok(trigger) } else { Err(Error::NotATrigger { function }) }
        }
    }

    /// None for INSTEAD OF.
    fn shape(&self) -> Option<Shape> {
        // SAFETY: TriggerData is valid for the call.
        let event = unsafe { (*self.data).tg_event };
        let row = event & pg_sys::TRIGGER_EVENT_ROW != 0;
        match event & pg_sys::TRIGGER_EVENT_TIMINGMASK {
            pg_sys::TRIGGER_EVENT_BEFORE => Some(if row { Shape::BeforeRow } else { Shape::BeforeStatement }),
            0 => Some(if row { Shape::AfterRow } else { Shape::AfterStatement }),
            _ => None,
        }
    }

    /// Whether the trigger that counts the rows of this statement is there and in force.
    pub fn has_last_word(&self) -> bool {
        // SAFETY: the relation is open for the whole call; names are NUL-terminated.
        unsafe {
            triggers_of((*self.data).tg_relation).iter().any(|t| {
                CStr::from_ptr(t.tgname) == c"orgscope_last_word" && t.tgenabled != pg_sys::TRIGGER_DISABLED as c_char
            })
        }
    }

    /// For SPI, which lets a statement read the transition tables.
    pub fn data(&self) -> *mut pg_sys::TriggerData {
        self.data
    }

    /// Whether it is one of [`HISTORY`], for its event and with the rows that it needs.
    pub fn is_history(&self) -> bool {
        let event = self.event();
        // SAFETY: TriggerData and its trigger are valid for the call; names are NUL-terminated.
        unsafe {
            let name = CStr::from_ptr((*(*self.data).tg_trigger).tgname).to_string_lossy();
            let named = HISTORY.iter().any(|h| h.name == name && h.name.ends_with(&event.name().to_lowercase()));
            let old = matches!(event, Event::Update | Event::Delete) == !(*self.data).tg_oldtable.is_null();
            let new = matches!(event, Event::Update | Event::Insert) == !(*self.data).tg_newtable.is_null();
            named && old && new
        }
    }

    /// Rows of the larger transition table.
    pub fn changed_rows(&self) -> i64 {
        // SAFETY: the tables are NULL or valid for the call.
        unsafe {
            let tables = [(*self.data).tg_oldtable, (*self.data).tg_newtable];
            let rows = tables.into_iter().filter(|table| !table.is_null()).map(|t| pg_sys::tuplestore_tuple_count(t));
            rows.max().unwrap_or(0)
        }
    }

    pub fn owner(&self) -> pg_sys::Oid {
        // SAFETY: the relation is open for the whole call.
        unsafe { (*(*(*self.data).tg_relation).rd_rel).relowner }
    }

    pub fn table(&self) -> pg_sys::Oid {
        // SAFETY: the relation is open for the whole call.
        unsafe { (*(*self.data).tg_relation).rd_id }
    }

    pub fn event(&self) -> Event {
        // SAFETY: TriggerData is valid for the call.
        match unsafe { (*self.data).tg_event } & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Event::Insert,
            pg_sys::TRIGGER_EVENT_DELETE => Event::Delete,
            pg_sys::TRIGGER_EVENT_TRUNCATE => Event::Truncate,
            _ => Event::Update,
        }
    }

    fn old_row(&self) -> Option<pg_sys::HeapTuple> {
        // SAFETY: in a row trigger for UPDATE and DELETE tg_trigtuple is the old row.
        matches!(self.event(), Event::Update | Event::Delete).then(|| unsafe { (*self.data).tg_trigtuple })
    }

    fn new_row(&self) -> Option<pg_sys::HeapTuple> {
        // SAFETY: in a row trigger the new row is tg_trigtuple for INSERT, tg_newtuple for UPDATE.
        match self.event() {
            Event::Insert => Some(unsafe { (*self.data).tg_trigtuple }),
            Event::Update => Some(unsafe { (*self.data).tg_newtuple }),
            Event::Delete | Event::Truncate => None,
        }
    }

    /// What the trigger function returns to let the row through.
    pub fn row(&self) -> pg_sys::Datum {
        self.new_row().or(self.old_row()).map_or(pg_sys::Datum::null(), pg_sys::Datum::from)
    }

    pub fn old_org(&self) -> Result<Option<Org>, Error> {
        self.org_of(self.old_row())
    }

    pub fn new_org(&self) -> Result<Option<Org>, Error> {
        self.org_of(self.new_row())
    }

    fn org_of(&self, row: Option<pg_sys::HeapTuple>) -> Result<Option<Org>, Error> {
        let Some(row) = row else { return Ok(None) };
        let column = self.organization_attribute()?;
        let mut is_null = false;
        // SAFETY: the tuple belongs to the relation whose descriptor is used; the column is a uuid, checked below.
        unsafe {
            let description = (*(*self.data).tg_relation).rd_att;
            let value = pg_sys::heap_getattr(row, column.into(), description, &mut is_null);
            Ok((!is_null).then(|| *value.cast_mut_ptr::<Org>()))
        }
    }

    /// The row with its organization set.
    pub fn with_org(&self, org: Org) -> Result<pg_sys::Datum, Error> {
        Ok(self.with_value(self.organization_attribute()?, uuid_datum(org)))
    }

    /// The new row with another value in one column, which must exist.
    pub fn with_value(&self, column: i16, mut value: pg_sys::Datum) -> pg_sys::Datum {
        let Some(row) = self.new_row() else { return self.row() };
        let (mut column, mut is_null) = (column.into(), false);
        // SAFETY: one column, one value, one flag, of the relation the tuple belongs to.
        pg_sys::Datum::from(unsafe {
            let description = (*(*self.data).tg_relation).rd_att;
            pg_sys::heap_modify_tuple_by_cols(row, description, 1, &raw mut column, &raw mut value, &raw mut is_null)
        })
    }

    pub fn column(&self) -> Option<String> {
        self.column_name().map(|name| name.to_string_lossy().into_owned())
    }

    fn column_name(&self) -> Option<&CStr> {
        self.argument(0)
    }

    fn argument(&self, n: i16) -> Option<&CStr> {
        // SAFETY: tgargs has tgnargs NUL-terminated strings and lives as long as the relation is open.
        unsafe {
            let trigger = (*self.data).tg_trigger;
            ((*trigger).tgnargs > n).then(|| CStr::from_ptr(*(*trigger).tgargs.add(n as usize)))
        }
    }

    /// Whether the table is observed: the last argument, behind a row trigger's column.
    pub fn observes(&self) -> bool {
        let row = matches!(self.shape(), Some(Shape::BeforeRow | Shape::AfterRow));
        self.argument(i16::from(row)) == Some(c"observe")
    }

    /// Whether the writer is outside the table's row security, or was a foreign key's action, which is.
    pub fn bypasses_row_security(&self) -> Result<bool, Error> {
        let asked = self.asked()?;
        // SAFETY: see asked(); nothing else holds the reference.
        Ok(unsafe {
            *(*asked).bypasses.get_or_insert_with(|| row_security_bypassed(self.table()) || by_integrity(self.table()))
        })
    }

    fn asked(&self) -> Result<*mut Asked, Error> {
        // SAFETY: fn_extra is ours, NULL at first; memory of fn_mcxt lives as long as flinfo.
        unsafe {
            let function = (*self.call.0).flinfo;
            if (*function).fn_extra.is_null() {
                let asked = Asked { attribute: self.attribute()?, bypasses: None };
                let kept = pg_sys::MemoryContextAlloc((*function).fn_mcxt, size_of::<Asked>()).cast::<Asked>();
                kept.write(asked);
                (*function).fn_extra = kept.cast();
            }
            Ok((*function).fn_extra.cast())
        }
    }

    fn organization_attribute(&self) -> Result<i16, Error> {
        // SAFETY: see asked().
        self.asked().map(|asked| unsafe { (*asked).attribute })
    }

    /// Attribute number of the organization column. Its type is checked: reading 16 bytes of anything else would read
    /// past the value.
    fn attribute(&self) -> Result<i16, Error> {
        let Some(name) = self.column_name() else {
            return Err(Error::Internal { what: "trigger has no column argument".into() });
        };
        // SAFETY: syscache look-ups by table and name.
        unsafe {
            let number = pg_sys::get_attnum(self.table(), name.as_ptr());
            if number <= 0 || self.type_of(number) != pg_sys::UUIDOID {
                return Err(Error::ColumnGone {
                    table: table_name(self.table(), None),
                    column: name.to_string_lossy().into_owned(),
                });
            }
            Ok(number)
        }
    }

    fn type_of(&self, attribute: i16) -> pg_sys::Oid {
        // SAFETY: reads the descriptor of an open relation, which has every attribute from 1.
        unsafe { pg_sys::SPI_gettypeid((*(*self.data).tg_relation).rd_att, attribute.into()) }
    }
}
