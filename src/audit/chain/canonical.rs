//! The canonical form of an audit row: what its digest covers. It depends on the values alone, not on settings, client,
//! encoding of the database, or where and how the row is stored.
//!
//! All columns are in it, `statement` and `detail` too, which a tenant cannot read. So that a digest gives nothing of
//! them away to whoever guesses, each seal's rows are salted, and salt and row digests are not readable either: a tenant
//! does not compute its chain itself, [`super::verify`] reads it with the owner's rights and shows the verdict alone.

use super::cursor::{Row, with_bytes};
use pgrx::pg_sys;
use sha2::{Digest, Sha256};

/// In this order, which is part of the form.
pub const COLUMNS: &str = "a.id, a.at, a.organization_id, a.action, a.table_name, a.operation, a.row_count, a.event_count, \
     a.actor, a.login_name, a.session_user_name, a.role_name, a.application_name, a.client_addr, a.txid, a.statement, \
     a.sqlstate, a.reason, a.detail";

#[derive(Clone, Copy)]
enum Form {
    Int8,
    Uuid,
    Text,
    Name,
    /// Family, bits and address, all bytes.
    Inet,
    Jsonb,
}

const FORMS: [Form; 19] = {
    use Form::{Inet, Int8, Jsonb, Name, Text, Uuid};
    [Int8, Int8, Uuid, Text, Text, Text, Int8, Int8, Text, Name, Name, Name, Text, Inet, Int8, Text, Text, Text, Jsonb]
};

pub const ID: usize = 0;
pub const AT: usize = 1;
pub const ORGANIZATION: usize = 2;

const DOMAIN: &[u8] = b"orgscope audit row 1";

pub type Salt = [u8; 16];

/// A row in canonical form, in memory that is used again for the next.
#[derive(Default)]
pub struct Canonical(Vec<u8>);

/// Whether text is stored as UTF-8 or in no known encoding, and so is taken over as it is. Asked once for a row's fields.
fn is_plain() -> bool {
    const PLAIN: [i32; 2] = [pg_sys::pg_enc::PG_UTF8 as i32, pg_sys::pg_enc::PG_SQL_ASCII as i32];
    // SAFETY: reads this backend's database.
    PLAIN.contains(&unsafe { pg_sys::GetDatabaseEncoding() })
}

impl Canonical {
    /// Takes over a row selected as [`COLUMNS`].
    pub fn read(&mut self, row: &Row<'_>) {
        self.0.clear();
        let plain = is_plain();
        for (n, form) in FORMS.iter().enumerate() {
            match row.field(n) {
                None => self.0.push(0),
                Some(datum) => {
                    self.0.push(1);
                    self.push(*form, datum, plain);
                }
            }
        }
    }

    fn push(&mut self, form: Form, datum: pg_sys::Datum, plain: bool) {
        match form {
            Form::Int8 => self.0.extend_from_slice(&(datum.value() as u64).to_be_bytes()),
            // SAFETY: a uuid datum points to 16 bytes.
            Form::Uuid => self.0.extend_from_slice(unsafe { &*datum.cast_mut_ptr::<[u8; 16]>() }),
            Form::Text => with_bytes(datum, |bytes| self.push_text(bytes, plain)),
            Form::Inet => with_bytes(datum, |bytes| self.push_bytes(bytes)),
            // SAFETY: a name datum points to NUL-terminated text.
            Form::Name => self.push_text(unsafe { std::ffi::CStr::from_ptr(datum.cast_mut_ptr()) }.to_bytes(), plain),
            Form::Jsonb => self.push_jsonb(datum, plain),
        }
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// As UTF-8: a restore may go into a database of another encoding.
    fn push_text(&mut self, text: &[u8], plain: bool) {
        if plain {
            return self.push_bytes(text);
        }
        // SAFETY: pg_server_to_any returns its argument when there is nothing to convert, else a NUL-terminated copy.
        unsafe {
            let (from, length) = (text.as_ptr().cast_mut().cast(), text.len() as i32);
            let to = pg_sys::pg_server_to_any(from, length, pg_sys::pg_enc::PG_UTF8 as i32);
            if to == from {
                return self.push_bytes(text);
            }
            self.push_bytes(std::ffi::CStr::from_ptr(to).to_bytes());
            pg_sys::pfree(to.cast());
        }
    }

    /// As text: jsonb's own form is for a major to change.
    fn push_jsonb(&mut self, datum: pg_sys::Datum, plain: bool) {
        // SAFETY: a jsonb datum, detoasted with a 4-byte header as JsonbToCString wants it.
        unsafe {
            let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
            let jsonb = pg_sys::pg_detoast_datum(stored).cast::<pg_sys::Jsonb>();
            let text = pg_sys::JsonbToCString(std::ptr::null_mut(), &raw mut (*jsonb).root, 64);
            self.push_text(std::ffi::CStr::from_ptr(text).to_bytes(), plain);
            pg_sys::pfree(text.cast());
            if jsonb.cast() != stored {
                pg_sys::pfree(jsonb.cast());
            }
        }
    }

    pub fn digest(&self, salt: &Salt) -> [u8; 32] {
        Sha256::new().chain_update(DOMAIN).chain_update(salt).chain_update(&self.0).finalize().into()
    }
}
