//! What pg_regress says: which tests failed, and how their output differs from the expected one.

use std::collections::BTreeMap;

/// Differences by test, as pg_regress collects them in `regression.diffs`. Paths, times, line numbers and the OIDs of new
/// objects are left out: they are of this run, or of one minor version.
pub fn differences(text: &str) -> BTreeMap<String, String> {
    let mut tests: BTreeMap<String, String> = BTreeMap::new();
    let mut test = String::new();
    let mut header = 0;
    for line in text.lines() {
        if let Some(files) = line.strip_prefix("diff ") {
            test = name_of_output(files).to_owned();
            // The two lines that name the files.
            header = 2;
        } else if header > 0 {
            header -= 1;
        } else {
            let body = tests.entry(test.clone()).or_default();
            body.push_str(&if line.starts_with("@@ ") { "@@".into() } else { without_oids(line) });
            body.push('\n');
        }
    }
    tests
}

/// In rows of a table, `<oid>` for each number of five digits that PostgreSQL gives to objects of users.
fn without_oids(line: &str) -> String {
    let is_oid = |cell: &str| cell.len() == 5 && cell.parse().is_ok_and(|oid: u32| oid >= FIRST_OF_USERS);
    let oids = line.split('|').map(|cell| cell.trim_matches(['+', '-', ' '])).filter(|cell| is_oid(cell));
    if !line.contains('|') {
        return line.into();
    }
    oids.fold(line.to_owned(), |line, oid| line.replace(oid, "<oid>"))
}

/// FirstNormalObjectId
const FIRST_OF_USERS: u32 = 16384;

/// `-U3 …/expected/NAME_1.out …/results/NAME.out` → NAME
fn name_of_output(files: &str) -> &str {
    files.rsplit('/').next().and_then(|file| file.strip_suffix(".out")).unwrap_or(files)
}

/// The verdicts that pg_regress prints, by test: TAP since PostgreSQL 16, before that `test NAME ... ok` for a test
/// alone and `NAME ... ok` for one of a group.
pub fn verdicts(output: &str) -> BTreeMap<String, bool> {
    output.lines().filter_map(|line| tap(line).or_else(|| dots(line))).collect()
}

fn tap(line: &str) -> Option<(String, bool)> {
    let (rest, ok) = match line.strip_prefix("not ok ") {
        Some(rest) => (rest, false),
        None => (line.strip_prefix("ok ")?, true),
    };
    // A number, `-` or `+`, the name, the time.
    Some((rest.split_whitespace().nth(2)?.to_owned(), ok))
}

fn dots(line: &str) -> Option<(String, bool)> {
    let (name, verdict) = line.split_once(" ... ")?;
    let name = name.trim().trim_start_matches("test ").trim();
    let verdict = verdict.trim_start();
    Some((name.to_owned(), verdict.starts_with("ok") || verdict.starts_with("failed (ignored)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_test() {
        let text = "\
            diff -U3 /a/expected/copy.out /b/results/copy.out\n\
            --- /a/expected/copy.out\t2026-01-01 00:00:00 +0000\n\
            +++ /b/results/copy.out\t2026-01-01 00:00:01 +0000\n\
            @@ -1,2 +1,2 @@\n \n-one\n+two\n\
            @@ -11,2 +11,3 @@ SELECT\n same\n+--- three\n\
            diff -U3 /a/expected/xml_2.out /b/results/xml.out\n\
            --- /a/expected/xml_2.out\t2026-01-01 00:00:00 +0000\n\
            +++ /b/results/xml.out\t2026-01-01 00:00:01 +0000\n\
            @@ -1 +1 @@\n-a\n+b\n";
        let differences = differences(text);
        assert_eq!(differences["copy"], "@@\n \n-one\n+two\n@@\n same\n+--- three\n");
        assert_eq!(differences["xml"], "@@\n-a\n+b\n");
        assert_eq!(differences.len(), 2);
    }

    #[test]
    fn oids_are_left_out() {
        for (line, expected) in [
            ("+ 4045 | jsonb_hash | 16570 | key_hash", "+ 4045 | jsonb_hash | <oid> | key_hash"),
            ("+    16466 | row_ids     | 1016 | _int8", "+    <oid> | row_ids     | 1016 | _int8"),
            ("+ 12345 | a", "+ 12345 | a"),
            ("+ 16384", "+ 16384"),
        ] {
            assert_eq!(without_oids(line), expected);
        }
    }

    #[test]
    fn verdicts_of_15() {
        let output = "\
            parallel group (2 tests):  char name\n\
            \x20    char                         ... ok           34 ms\n\
            \x20    name                         ... FAILED (test process exited with exit code 2)       12 ms\n\
            test event_trigger                ... FAILED       12 ms\n\
            test random                       ... failed (ignored)       12 ms\n\
            test tablespace                   ... ok          212 ms\n";
        let expected =
            [("char", true), ("event_trigger", false), ("name", false), ("random", true), ("tablespace", true)];
        assert_eq!(verdicts(output), expected.map(|(name, ok)| (name.to_owned(), ok)).into());
    }

    #[test]
    fn verdicts_of_16_and_later() {
        let output = "\
            # using postmaster on /tmp/x, port 5432\n\
            ok 1         - test_setup                                234 ms\n\
            # parallel group (2 tests):  char name\n\
            ok 2         + char                                       34 ms\n\
            not ok 3     + name                                       12 ms\n\
            # (test process exited with exit code 2)\n\
            1..3\n";
        let expected = [("char", true), ("name", false), ("test_setup", true)];
        assert_eq!(verdicts(output), expected.map(|(name, ok)| (name.to_owned(), ok)).into());
    }
}
