//! For tests of what takes texts that anybody may send: how many inputs they try, and the corpus that they start from.
//!
//! Each line of a file of `tests/corpus` is JSON: what is expected, and the text. What a run finds is added there.

use proptest::prelude::*;
use proptest::sample::Index;

/// `PROPTEST_CASES=10000000` tries each property with ten million inputs.
pub fn many() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4096);
    ProptestConfig::with_cases(cases)
}

pub struct Known {
    pub expected: String,
    pub text: String,
}

pub fn corpus(file: &str) -> Vec<Known> {
    let path = format!("{}/tests/corpus/{file}", env!("CARGO_MANIFEST_DIR"));
    let lines = std::fs::read_to_string(&path).expect(&path);
    let known = lines.lines().map(|line| {
        let (expected, text) = serde_json::from_str(line).expect(line);
        Known { expected, text }
    });
    known.collect()
}

/// Fails with all lines for which `found` says something else, as they would have to be.
pub fn replay(file: &str, found: impl Fn(&str) -> String) {
    let known = corpus(file);
    assert!(known.len() > 30, "{file} has only {} lines", known.len());
    let other = known.iter().map(|k| (k, found(&k.text))).filter(|(k, found)| k.expected != *found);
    let lines: Vec<String> = other.map(|(k, found)| serde_json::json!([found, k.text]).to_string()).collect();
    assert!(lines.is_empty(), "{file} expects otherwise:\n{}", lines.join("\n"));
}

/// A few changes of a text: a character replaced, put in, taken out, or all from there on cut off.
pub fn changes() -> impl Strategy<Value = Vec<(Index, char, u8)>> {
    let character =
        prop_oneof![any::<char>(), prop::sample::select(b"{}[]\",:.-_=+/\\0eE~AQ".map(char::from).to_vec())];
    prop::collection::vec((any::<Index>(), character, 0..8u8), 1..4)
}

pub fn changed(text: &str, changes: &[(Index, char, u8)]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (at, character, how) in changes {
        let at = at.index(text.len() + 1);
        match how {
            0..3 if at < text.len() => text[at] = *character,
            3..5 => text.insert(at, *character),
            5..7 if at < text.len() => drop(text.remove(at)),
            7 => text.truncate(at),
            _ => {}
        }
    }
    text.into_iter().collect()
}
