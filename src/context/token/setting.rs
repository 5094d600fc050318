//! The setting `orgscope.token`: verified once when it is set. What guc.c keeps of it is not the token but what it said, which
//! a parallel worker is given, and `SHOW` is not.

use super::claims::{Claims, LONGEST_ACTOR};
use super::fault::Fault;
use super::judge::{configured_at, with_judge};
use super::verify::Verified;
use super::{force, redact, shared};
use crate::context::signed;
use crate::context::value::{self, Held};
use crate::error::{Error, Refused};
use crate::pg::{self, Backend, entry, raw};
use pgrx::pg_sys;
use pgrx::pg_sys::GucSource::{PGC_S_CLIENT, PGC_S_INTERACTIVE, PGC_S_TEST};
use std::ffi::{CStr, c_char, c_void};
use uuid::Uuid;

/// Seconds from 1970 to 2000, where PostgreSQL's time begins.
const EPOCH: i64 = 946_684_800;
const SECOND: i64 = 1_000_000;

/// A token in force, beside its value in guc.c.
#[derive(Clone, Copy)]
pub struct Token {
    pub held: Held,
    pub expires: pg_sys::TimestampTz,
    /// The role that it is bound to.
    pub role: Option<pg_sys::Oid>,
    /// The marks of its key and of the rules it was judged by, and when the configuration was last read that has them.
    pub key: u64,
    pub rules: u64,
    pub seen: pg_sys::TimestampTz,
    actor: [u8; LONGEST_ACTOR],
    actor_length: u8,
}

pub static TOKEN: Backend<Option<Token>> = Backend::new(None);

impl Token {
    fn of(verified: &Verified, role: Option<pg_sys::Oid>, from_connection: bool, rules: u64) -> Self {
        let claims = &verified.claims;
        let mut token = Self {
            held: signed::hold(claims.organization, from_connection),
            expires: (claims.expires - EPOCH) * SECOND,
            role,
            key: verified.key,
            rules,
            seen: configured_at(),
            actor: [0; LONGEST_ACTOR],
            actor_length: 0,
        };
        token.set_actor(&claims.actor);
        token
    }

    fn set_actor(&mut self, actor: &str) {
        if let Some(place) = self.actor.get_mut(..actor.len()) {
            place.copy_from_slice(actor.as_bytes());
            self.actor_length = actor.len() as u8;
        }
    }

    pub fn actor(&self) -> Option<String> {
        let actor = self.actor.get(..usize::from(self.actor_length)).unwrap_or_default();
        (!actor.is_empty()).then(|| String::from_utf8_lossy(actor).into_owned())
    }

    /// For guc.c to keep, and for a parallel worker to read.
    fn to_text(self) -> String {
        let (org, role) = (Uuid::from_bytes(self.held.org), self.role.map_or(0, pg_sys::Oid::to_u32));
        format!("{org} {} {role} {} {}", self.expires, self.held.from_connection, self.actor().unwrap_or_default())
    }

    /// A worker does not judge it: only the organization and the actor count there.
    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let org = Uuid::try_parse(parts.next()?).ok()?.into_bytes();
        let expires = parts.next()?.parse().ok()?;
        let role = Some(parts.next()?.parse::<u32>().ok()?).filter(|r| *r != 0).map(pg_sys::Oid::from);
        let held = signed::hold(org, parts.next()? == "true");
        let mut token =
            Self { held, expires, role, key: 0, rules: 0, seen: 0, actor: [0; LONGEST_ACTOR], actor_length: 0 };
        token.set_actor(parts.next()?);
        Some(token)
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }.div_euclid(SECOND) + EPOCH
}

/// What becomes of a new value.
enum Judged {
    Nothing,
    Token(Box<Token>),
    Refused(Error),
}

/// Plain frame: where PostgreSQL would raise the error anyway we do, so that it is on record.
pub unsafe extern "C-unwind" fn check_token(
    new: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    entry(|| {
        // SAFETY: guc.c passes a pointer to a NUL-terminated string or NULL.
        let judged = unsafe {
            let text = if (*new).is_null() { c"" } else { CStr::from_ptr(*new) };
            let judged = judge(&text.to_string_lossy(), source);
            if !matches!(judged, Judged::Nothing) {
                wipe(*new);
                redact::hide_activity();
            }
            judged
        };
        match judged {
            Judged::Nothing => Ok(true),
            // SAFETY: as above.
            Judged::Token(token) => Ok(unsafe { keep(*token, new, extra) }),
            Judged::Refused(error) if source >= PGC_S_INTERACTIVE && !value::is_defining() => Err(error),
            Judged::Refused(error) => Ok(value::refuse(&error)),
        }
    })
}

fn judge(text: &str, source: pg_sys::GucSource::Type) -> Judged {
    let set = source >= PGC_S_INTERACTIVE && source != PGC_S_TEST;
    if set {
        signed::touch_token();
    }
    if text.is_empty() {
        let ends = set && TOKEN.with(|t| t.is_some()) && value::changes_in_worker(None);
        return if ends { Judged::Refused(Error::ContextRefused(Refused::Changed)) } else { Judged::Nothing };
    }
    // SAFETY: a plain global, true only while a worker takes over its leader's settings, which it has verified. Defaults of
    // roles and databases are read then too, and have other sources.
    if unsafe { pg_sys::InitializingParallelWorker } {
        return match Token::from_text(text) {
            Some(token) if set || source == PGC_S_CLIENT => Judged::Token(Box::new(token)),
            _ => Judged::Refused(Error::TokenRefused(Fault::Kept)),
        };
    }
    let from_connection = source == PGC_S_CLIENT;
    if !set && !from_connection {
        return Judged::Refused(Error::TokenRefused(Fault::Kept));
    }
    if value::is_stale() {
        return Judged::Refused(Error::TokenRefused(Fault::Stale));
    }
    match accept(text, from_connection) {
        Ok(token) => Judged::Token(Box::new(token)),
        Err(error) => Judged::Refused(error),
    }
}

fn accept(text: &str, from_connection: bool) -> Result<Token, Error> {
    let now = now();
    let (verified, rules) =
        with_judge(|judge| judge.verify(text, now).map(|v| (v, judge.rules_mark()))).map_err(Error::TokenRefused)?;
    let role = bound_role(&verified.claims).map_err(Error::TokenRefused)?;
    signed::allow(verified.claims.organization, from_connection)?;
    if let Some(id) = &verified.claims.id
        && !force::has_used(id)
    {
        shared::enter(id, verified.claims.expires, now).map_err(Error::TokenRefused)?;
        force::note_used(*id);
    }
    Ok(Token::of(&verified, role, from_connection, rules))
}

/// The role that the token is for, which must be this session's.
fn bound_role(claims: &Claims) -> Result<Option<pg_sys::Oid>, Fault> {
    // SAFETY: backend-local state, and look-ups by oid, for which there is a transaction wherever a token can be set.
    unsafe {
        if let Some(database) = &claims.database
            && pg::text_of(pg_sys::get_database_name(pg_sys::MyDatabaseId)).as_ref() != Some(database)
        {
            return Err(Fault::Database);
        }
        let Some(role) = &claims.role else { return Ok(None) };
        let ours = raw::GetOuterUserId();
        if pg::role_name(ours).as_ref() == Some(role) { Ok(Some(ours)) } else { Err(Fault::Role) }
    }
}

/// SAFETY: guc.c's value and the place for its extra.
unsafe fn keep(token: Token, new: *mut *mut c_char, extra: *mut *mut c_void) -> bool {
    let copy = pg::guc_alloc(size_of::<Token>()).cast::<Token>();
    // SAFETY: the caller's; guc.c takes both over and frees them with the value.
    unsafe {
        if copy.is_null() || !pg::guc_replace(new, &token.to_text()) {
            return false;
        }
        copy.write(token);
        *extra = copy.cast();
    }
    true
}

/// SAFETY: NUL-terminated text that may be written to.
unsafe fn wipe(text: *mut c_char) {
    // SAFETY: the caller's. Volatile: nobody reads it any more, and yet it must be gone.
    unsafe {
        let mut at = text;
        while at.read() != 0 {
            at.write_volatile(0);
            at = at.add(1);
        }
    }
}

/// Must not fail: runs on SET, RESET, rollback and when a parallel worker starts.
pub unsafe extern "C-unwind" fn assign_token(_: *const c_char, extra: *mut c_void) {
    // SAFETY: extra is NULL or what check_token left; guc.c keeps the pair together.
    let token = (!extra.is_null()).then(|| unsafe { *extra.cast::<Token>() });
    TOKEN.with(|t| *t = token);
    signed::set_held(token.map(|t| t.held));
    if token.is_some() {
        force::watch();
    }
}

/// Whether there is one is no secret.
pub unsafe extern "C-unwind" fn show_token() -> *const c_char {
    if TOKEN.with(|t| t.is_some()) { c"***".as_ptr() } else { c"".as_ptr() }
}
