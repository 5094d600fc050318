//! Which ids are whose. The ids of an installation begin with the clock when the extension is created, so that a restore
//! into it brings ids, and seals, from before its own.

use super::cursor::Cursor;
use super::gaps::{self, Gap};
use crate::spi::View;

/// The ids of this installation: `first_id` names it.
pub struct Installation {
    pub first_id: i64,
    /// Up to the next installation's, should a dump from a clock that is ahead have been restored.
    pub last_id: i64,
    /// The last id that was looked at for sealing.
    pub top: i64,
}

const OWN: &str = "SELECT q.first_id, \
     COALESCE(LEAST( \
         (SELECT pg_catalog.min(s.installation) FROM orgscope.audit_seal s WHERE s.installation OPERATOR(pg_catalog.>) q.first_id), \
         (SELECT pg_catalog.min(b.installation) FROM orgscope.audit_beginning b WHERE b.installation OPERATOR(pg_catalog.>) q.first_id)) \
         OPERATOR(pg_catalog.-) 1::pg_catalog.int8, 9223372036854775807), \
     COALESCE(GREATEST( \
         (SELECT pg_catalog.max(s.last_id) FROM orgscope.audit_seal s WHERE s.installation OPERATOR(pg_catalog.=) q.first_id), \
         (SELECT pg_catalog.max(c.last_id) FROM orgscope.audit_checkpoint c WHERE c.installation OPERATOR(pg_catalog.=) q.first_id)), \
         q.first_id OPERATOR(pg_catalog.-) 1::pg_catalog.int8) \
     FROM orgscope.audit_installation q";

impl Installation {
    pub fn own() -> Self {
        let mut cursor = Cursor::open(OWN, &[], View::Latest);
        let own = cursor.next().map(|row| (row.int8(0), row.int8(1), row.int8(2)));
        cursor.close();
        let (first_id, last_id, top) = own.unwrap_or_default();
        Self { first_id, last_id, top }
    }
}

/// All installations whose ids may be here, ascending, each with the last id that was looked at for sealing (of one that has
/// sealed nothing the one before its first); and the ids
/// below that which a transaction may still bring, or may have brought after its dump was made.
pub struct Known {
    tops: Vec<(i64, i64)>,
    gaps: Vec<Gap>,
}

const TOPS: &str = "SELECT t.installation, pg_catalog.max(t.last_id) FROM (\
     SELECT s.installation, s.last_id FROM orgscope.audit_seal s \
     UNION ALL SELECT c.installation, c.last_id FROM orgscope.audit_checkpoint c \
     UNION ALL SELECT b.installation, b.installation OPERATOR(pg_catalog.-) 1::pg_catalog.int8 FROM orgscope.audit_beginning b \
     UNION ALL SELECT q.first_id, q.first_id OPERATOR(pg_catalog.-) 1::pg_catalog.int8 FROM orgscope.audit_installation q) t \
     GROUP BY t.installation ORDER BY t.installation";

impl Known {
    pub fn load() -> Self {
        let mut cursor = Cursor::open(TOPS, &[], View::Statement);
        let mut tops = Vec::new();
        while let Some(row) = cursor.next() {
            tops.push((row.int8(0), row.int8(1)));
        }
        cursor.close();
        Self { tops, gaps: gaps::load(View::Statement, i64::MIN..=i64::MAX) }
    }

    /// The installation that an id is of; the first one for an id that is of none.
    pub fn installation(&self, id: i64) -> i64 {
        let after = self.tops.partition_point(|(first, _)| *first <= id);
        self.tops.get(after.saturating_sub(1)).map_or(0, |(first, _)| *first)
    }

    /// Behind the last id that its installation has looked at, or in a gap. Never before the first installation that is known.
    pub fn may_be_unsealed(&self, id: i64) -> bool {
        let after = self.tops.partition_point(|(first, _)| *first <= id);
        after > 0 && id > self.tops[after - 1].1 || gaps::contain(&self.gaps, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_the_installation_that_began_before_it() {
        let known = Known { tops: vec![(100, 120), (200, 199)], gaps: Vec::new() };
        assert_eq!([-3, 100, 199, 200, 999].map(|id| known.installation(id)), [100, 100, 100, 200, 200]);
        let unsealed = [-3, 99, 100, 120, 121, 199, 200].map(|id| known.may_be_unsealed(id));
        assert_eq!(unsealed, [false, false, false, false, true, true, true]);
    }
}
