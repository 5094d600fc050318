//! What an operator counts: events by their action.

/// The audit log's actions, and what has no counter of its own. The queue's file holds their numbers in this order: another
/// order or length needs another magic number there.
pub const KINDS: [&str; 10] = [
    "bypass_read",
    "bypass_write",
    "denied",
    "observed",
    "ddl",
    "privilege",
    "setting",
    "break_glass",
    "lifecycle",
    "other",
];

/// So many events of each.
pub type ByKind = [u64; KINDS.len()];

/// Where the action is counted.
pub fn kind_of(action: &str) -> usize {
    KINDS.iter().position(|kind| *kind == action).unwrap_or(KINDS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_is_new_is_counted_as_another() {
        assert_eq!((KINDS[kind_of("denied")], KINDS[kind_of("something")]), ("denied", "other"));
    }
}
