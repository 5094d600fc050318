//! Functions that PostgreSQL calls, their arguments and results.

use super::*;
use crate::guard::ddl::nodes;
use std::ffi::c_int;

/// Exports `$name` as a version-1 function that returns what the body says: `Ok(Some(datum))`, `Ok(None)` for NULL, or
/// an [`Error`] that is raised.
#[macro_export]
macro_rules! pg_function {
    ($(#[$doc:meta])* fn $name:ident($call:ident) $body:block) => {
        $crate::pg_finfo!($name);
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            fn body($call: $crate::pg::Call) -> Result<Option<pgrx::pg_sys::Datum>, $crate::error::Error> $body
            let call = $crate::pg::Call(fcinfo);
            $crate::pg::entry(|| body(call).map(|value| call.result(value)))
        }
    };
}

/// PG_FUNCTION_INFO_V1.
#[macro_export]
macro_rules! pg_finfo {
    ($name:ident) => {
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
            extern "C" fn info() -> &'static pgrx::pg_sys::Pg_finfo_record {
                const RECORD: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &RECORD
            }
        };
    };
}

/// The arguments and the result of one call of a version-1 function.
#[derive(Clone, Copy)]
pub struct Call(pub pg_sys::FunctionCallInfo);

impl Call {
    /// Argument `n`, None when NULL. The SQL declaration fixes how many there are and their types.
    pub fn arg(self, n: usize) -> Option<pg_sys::Datum> {
        // SAFETY: PostgreSQL passes as many arguments as the declaration in sql/ names.
        let arg = unsafe { (*self.0).args.as_slice((*self.0).nargs as usize)[n] };
        (!arg.isnull).then_some(arg.value)
    }

    pub fn uuid(self, n: usize) -> Option<[u8; 16]> {
        // SAFETY: a uuid datum points to 16 bytes.
        self.arg(n).map(|d| unsafe { *d.cast_mut_ptr::<[u8; 16]>() })
    }

    pub fn oid(self, n: usize) -> Option<pg_sys::Oid> {
        self.arg(n).map(|d| pg_sys::Oid::from(d.value() as u32))
    }

    pub fn int4(self, n: usize) -> Option<i32> {
        self.arg(n).map(|d| d.value() as i32)
    }

    pub fn bool(self, n: usize) -> Option<bool> {
        self.arg(n).map(|d| d.value() != 0)
    }

    pub fn text(self, n: usize) -> Option<String> {
        // SAFETY: the declaration says text; text_to_cstring detoasts.
        self.arg(n).and_then(|d| text_of(unsafe { pg_sys::text_to_cstring(d.cast_mut_ptr()) }))
    }

    /// The kind of statement that an event trigger was fired for, None when it was not called as one.
    pub fn event_trigger_statement(self) -> Option<pg_sys::NodeTag> {
        // SAFETY: an event trigger's call carries an EventTriggerData node in `context`, any other call NULL or another
        // node; its parse tree is the statement's and lives as long.
        unsafe {
            let context = (*self.0).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
                return None;
            }
            let statement = (*context.cast::<pg_sys::EventTriggerData>()).parsetree;
            (!statement.is_null()).then(|| (*statement).type_)
        }
    }

    /// The old and the new name of a column, for an event trigger's call after the statement that renames it.
    pub fn renamed_column(self) -> Option<(String, String)> {
        if self.event_trigger_statement() != Some(pg_sys::NodeTag::T_RenameStmt) {
            return None;
        }
        // SAFETY: the call is an event trigger's, and its parse tree a RenameStmt.
        let statement = unsafe {
            let data = (*self.0).context.cast::<pg_sys::EventTriggerData>();
            &*(*data).parsetree.cast::<pg_sys::RenameStmt>()
        };
        let of_column = statement.renameType == pg_sys::ObjectType::OBJECT_COLUMN;
        text_of(statement.subname).zip(text_of(statement.newname)).filter(|_| of_column)
    }

    /// Whether an event trigger was fired for a command that makes a table, an index or the trigger of an append-only log, or
    /// by which a table gets a partition, a constraint, or more protection.
    pub fn only_adds(self) -> bool {
        use pg_sys::AlterTableType as Alter;
        const ADDING: [Alter::Type; 6] = [
            Alter::AT_AddConstraint,
            Alter::AT_AddIndex,
            Alter::AT_AddIndexConstraint,
            Alter::AT_AttachPartition,
            Alter::AT_EnableAlwaysTrig,
            Alter::AT_EnableRowSecurity,
        ];
        use pg_sys::NodeTag::{T_AlterTableStmt, T_CreateStmt, T_CreateTrigStmt, T_IndexStmt};
        match self.event_trigger_statement() {
            Some(T_CreateStmt | T_IndexStmt) => true,
            // SAFETY: see event_trigger_statement(); a function is named by String nodes.
            Some(T_CreateTrigStmt) => unsafe {
                let data = (*self.0).context.cast::<pg_sys::EventTriggerData>();
                let names = (*(*data).parsetree.cast::<pg_sys::CreateTrigStmt>()).funcname;
                let names = nodes(names).map(|name: *mut pg_sys::String| text_of((*name).sval));
                names.eq(["orgscope", "audit_immutable"].map(|name| Some(name.to_owned())))
            },
            // SAFETY: see event_trigger_statement(); the statement is an AlterTableStmt, and its list has AlterTableCmd
            // nodes.
            Some(T_AlterTableStmt) => unsafe {
                let data = (*self.0).context.cast::<pg_sys::EventTriggerData>();
                let commands = (*(*data).parsetree.cast::<pg_sys::AlterTableStmt>()).cmds;
                let length = if commands.is_null() { 0 } else { (*commands).length as usize };
                (0..length).all(|i| {
                    let command = (*(*commands).elements.add(i)).ptr_value.cast::<pg_sys::AlterTableCmd>();
                    ADDING.contains(&(*command).subtype)
                })
            },
            _ => false,
        }
    }

    /// As text that reads back as the same time.
    pub fn timestamptz(self, n: usize) -> Option<String> {
        // SAFETY: timestamptz_to_str returns a buffer of its own, with the zone in it.
        self.arg(n).and_then(|d| text_of(unsafe { pg_sys::timestamptz_to_str(d.value() as i64) }))
    }

    /// An argument of type name.
    pub fn name(self, n: usize) -> Option<String> {
        // SAFETY: a name datum points to NUL-terminated text of at most 64 bytes.
        self.arg(n).and_then(|d| text_of(d.cast_mut_ptr()))
    }

    pub fn result(self, value: Option<pg_sys::Datum>) -> pg_sys::Datum {
        // SAFETY: fcinfo is valid for the duration of the call.
        unsafe { (*self.0).isnull = value.is_none() };
        value.unwrap_or(pg_sys::Datum::null())
    }
}

/// A uuid datum in the current memory context.
pub fn uuid_datum(bytes: [u8; 16]) -> pg_sys::Datum {
    // SAFETY: palloc returns 16 writable bytes or raises.
    unsafe {
        let copy = pg_sys::palloc(16).cast::<[u8; 16]>();
        *copy = bytes;
        pg_sys::Datum::from(copy)
    }
}

pub fn text_datum(text: &str) -> pg_sys::Datum {
    // SAFETY: cstring_to_text_with_len copies exactly the bytes given.
    pg_sys::Datum::from(unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as c_int) })
}

/// The command an event trigger fires for.
pub fn command_tag(call: Call) -> String {
    // SAFETY: an event trigger's call carries an EventTriggerData node; any other call is refused by SQL, which knows no
    // value of type event_trigger. The name is static.
    unsafe {
        let data = (*call.0).context.cast::<pg_sys::EventTriggerData>();
        text_of(pg_sys::GetCommandTagName((*data).tag)).unwrap_or_default()
    }
}
