//! What must not be read in the server's log or in an audit row: tokens, and the keys of `orgscope.jwks`.

use crate::pg;
use pgrx::pg_sys;
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

const SHOWN: &str = "***";
const KEYS: &[u8] = b"jwks";
const NOT_SHOWN: &str = "(not shown: it names orgscope.jwks)";

static mut NEXT: pg_sys::emit_log_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called after ours.
    unsafe {
        NEXT = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(emit_log);
    }
}

/// Takes a token, and keys, out of what pg_stat_activity shows of this session to others of its role, and to who may see all
/// sessions.
pub fn hide_activity() {
    // SAFETY: the client's statement, NULL outside one; the text is copied, and nothing is done without shared memory.
    unsafe {
        let query = pg_sys::debug_query_string;
        let is_secret = |text: &[u8]| has_token(text) || assigns_keys(text);
        if !query.is_null() && is_secret(CStr::from_ptr(query).to_bytes()) {
            let shown = pg::pstrdup(&redacted(&CStr::from_ptr(query).to_string_lossy()));
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, shown);
            pg_sys::pfree(shown.cast());
        }
    }
}

/// Without tokens; nothing of what names the keys.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if contains(text.as_bytes(), KEYS) {
        return NOT_SHOWN.into();
    }
    let (bytes, mut at, mut whole) = (text.as_bytes(), 0, String::new());
    let mut copied = 0;
    while at < bytes.len() {
        let length = if at == 0 || !is_part(bytes[at - 1]) { token_length(&bytes[at..]) } else { 0 };
        if length > 0 {
            whole.push_str(&text[copied..at]);
            whole.push_str(SHOWN);
            copied = at + length;
        }
        at += length.max(1);
    }
    if copied == 0 {
        return text.into();
    }
    whole.push_str(&text[copied..]);
    whole.into()
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// How long the token is that the text begins with, and what hangs on it; 0 for none. Its header begins with a brace, as
/// the one of every token that is accepted: an `e` and a letter of the last quarter in base64url.
fn token_length(text: &[u8]) -> usize {
    let last_quarter = |b: u8| matches!(b, b'w'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if text.len() < 20 || text[0] != b'e' || !last_quarter(text[1]) {
        return 0;
    }
    let header = text.iter().take_while(|b| is_part(**b)).count();
    if header < 10 || text.get(header) != Some(&b'.') {
        return 0;
    }
    text.iter().take_while(|b| is_part(**b) || **b == b'.').count()
}

fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}

/// Whether a statement may hold a token, or something that was meant as one.
fn names_token(text: &[u8]) -> bool {
    contains(text, b"org_token") || contains(text, b"orgscope") && contains(text, b"token")
}

/// Plain frame, called for each message before it goes to the server's log. Also in the postmaster, which at a reload says
/// what a setting was changed to.
///
/// PostgreSQL promises that a hook may keep a message out of the log, and not more; the texts are its own to replace as
/// errfinish() left them, and are read only afterwards.
unsafe extern "C-unwind" fn emit_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: the message on top of the error stack, whose texts are NULL or NUL-terminated and live in its context.
    unsafe {
        let data = &mut *error;
        for text in [
            &mut data.message,
            &mut data.detail,
            &mut data.detail_log,
            &mut data.hint,
            &mut data.context,
            &mut data.internalquery,
        ] {
            hide_in(text, data.assoc_context);
        }
        let query = pg_sys::debug_query_string;
        if !data.hide_stmt && !query.is_null() {
            let query = CStr::from_ptr(query).to_bytes();
            data.hide_stmt = names_token(query) || contains(query, KEYS) || has_token(query);
        }
        // What fails before its token is read, or in a transaction that has failed, is shown until the next statement.
        if data.elevel >= pgrx::PgLogLevel::ERROR as c_int && pg_sys::MyBackendType == pg_sys::BackendType::B_BACKEND {
            hide_activity();
        }
        if let Some(next) = NEXT {
            next(error);
        }
    }
}

fn has_token(text: &[u8]) -> bool {
    (0..text.len()).any(|at| (at == 0 || !is_part(text[at - 1])) && token_length(&text[at..]) > 0)
}

/// SAFETY: NULL or NUL-terminated text, and the context to make another in.
unsafe fn hide_in(text: &mut *mut c_char, context: pg_sys::MemoryContext) {
    if text.is_null() {
        return;
    }
    // SAFETY: the caller's.
    let bytes = unsafe { CStr::from_ptr(*text) }.to_bytes();
    let shown = if assigns_keys(bytes) {
        NOT_SHOWN.to_owned()
    } else if has_token(bytes) {
        redacted(&String::from_utf8_lossy(bytes)).into_owned()
    } else {
        return;
    };
    // SAFETY: allocates in the message's own context, as its texts are.
    unsafe { *text = pg::pstrdup_in(context, &shown) };
}

/// A statement that sets the keys, or what the postmaster says when a reload has changed them. Our own errors name the
/// setting too.
fn assigns_keys(text: &[u8]) -> bool {
    let names = (0..text.len()).filter(|at| begins(&text[*at..], KEYS));
    let mut rests = names.map(|at| {
        let rest = &text[at + KEYS.len()..];
        let gap = rest.iter().take_while(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'')).count();
        &rest[gap..]
    });
    rests.any(|rest| [&b"="[..], b"to", b"changed", b","].iter().any(|word| begins(rest, word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl-_";

    #[test]
    fn tokens_and_keys_are_hidden_and_nothing_else() {
        let sets = format!("SET LOCAL orgscope.token = '{TOKEN}'; SELECT 1");
        assert_eq!(redacted(&sets), "SET LOCAL orgscope.token = '***'; SELECT 1");
        assert_eq!(redacted(&format!("{TOKEN}.x ü {TOKEN}")), "*** ü ***");
        assert_eq!(redacted("ALTER SYSTEM SET orgscope.JWKS = 'x'"), NOT_SHOWN);
        for text in ["", "SELECT e1.id FROM employee e1", "select eyJ.x", "ex_1.yyyyyyyyyyyyyyyyyyyyyyyyyyyyy"] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn what_sets_the_keys_is_known_and_what_names_them_is_not_hidden() {
        for text in [
            "parameter \"orgscope.jwks\" changed to \"{}\"",
            "statement: alter system set orgscope.JWKS='x'",
            "set_config('orgscope.jwks', 'x')",
            "ALTER SYSTEM SET \"orgscope\".\"jwks\" TO 'x'",
        ] {
            assert!(assigns_keys(text.as_bytes()), "{text}");
        }
        for text in ["orgscope.jwks is empty.", "invalid value for parameter \"orgscope.jwks\"", "jwks"] {
            assert!(!assigns_keys(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_shown(before in ".{0,40}", after in ".{0,40}") {
            let shown = redacted(&format!("{before} {TOKEN} {after}")).into_owned();
            prop_assert!(!shown.contains("eyJleHAiOjF9"));
        }
    }
}
