//! One seal: a link of a chain.

use super::canonical::Salt;
use super::cursor::Row;
use sha2::{Digest, Sha256};

/// All zeros, which no organization can be, for rows without one.
pub type Organization = [u8; 16];

pub const NO_ORGANIZATION: Organization = [0; 16];

/// What one installation of the extension has sealed of one organization. A restore brings other installations' chains
/// along: they verify and purge like its own, and nothing is added to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    pub organization: Organization,
    pub installation: i64,
}

/// The columns of orgscope.audit_seal that [`Seal::read`] takes.
pub const COLUMNS: &str = "s.chain, s.installation, s.number, s.first_sequence, s.row_count, s.row_ids, s.row_digests, s.last_id, s.last_at, s.sealed_at, s.salt, s.previous, s.digest";

const DOMAIN: &[u8] = b"orgscope audit seal 1";

/// Where a chain ends: what the next seal continues.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Head {
    pub number: i64,
    pub digest: [u8; 32],
    /// Sequence number of the last row; its rows are numbered from 1 without a gap.
    pub sequence: i64,
}

pub struct Seal {
    pub chain: Chain,
    pub number: i64,
    pub first_sequence: i64,
    pub row_count: i64,
    /// Ascending: the row at position i has sequence number first_sequence + i.
    pub row_ids: Vec<i64>,
    /// 32 bytes for each row.
    pub row_digests: Vec<u8>,
    pub last_id: i64,
    pub last_at: i64,
    pub sealed_at: i64,
    pub salt: Salt,
    pub previous: [u8; 32],
    pub digest: [u8; 32],
}

impl Seal {
    pub fn read(row: &Row<'_>) -> Self {
        Self {
            chain: Chain { organization: row.uuid(0), installation: row.int8(1) },
            number: row.int8(2),
            first_sequence: row.int8(3),
            row_count: row.int8(4),
            row_ids: row.int8s(5),
            row_digests: row.bytes(6),
            last_id: row.int8(7),
            last_at: row.int8(8),
            sealed_at: row.int8(9),
            salt: row.bytes(10).try_into().unwrap_or_default(),
            previous: row.digest(11),
            digest: row.digest(12),
        }
    }

    pub fn head(&self) -> Head {
        Head { number: self.number, digest: self.digest, sequence: self.first_sequence + self.row_count - 1 }
    }

    pub fn row_digest(&self, position: usize) -> &[u8] {
        self.row_digests.get(position * 32..position * 32 + 32).unwrap_or_default()
    }

    /// Whether it says of its rows what they are, apart from their contents.
    pub fn is_consistent(&self) -> bool {
        self.row_ids.len() as i64 == self.row_count
            && self.row_digests.len() == self.row_ids.len() * 32
            && self.row_ids.is_sorted_by(|a, b| a < b)
            && self.row_ids.last() == Some(&self.last_id)
            && self.digest == self.computed()
    }

    pub fn computed(&self) -> [u8; 32] {
        let mut sha = Sha256::new().chain_update(DOMAIN).chain_update(self.chain.organization);
        let numbers =
            [self.chain.installation, self.number, self.first_sequence, self.row_count, self.last_at, self.sealed_at];
        numbers.iter().chain(&self.row_ids).for_each(|n| sha.update(n.to_be_bytes()));
        sha.chain_update(self.salt).chain_update(self.previous).chain_update(&self.row_digests).finalize().into()
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        let mut seal = Seal {
            chain: Chain { organization: [1; 16], installation: 2 },
            number: 3,
            first_sequence: 7,
            row_count: 2,
            row_ids: vec![4, 9],
            row_digests: vec![1; 64],
            last_id: 9,
            last_at: 5,
            sealed_at: 6,
            salt: [2; 16],
            previous: [3; 32],
            digest: [0; 32],
        };
        seal.digest = seal.computed();
        seal
    }

    #[test]
    fn every_part_of_a_seal_is_sealed() {
        assert!(seal().is_consistent());
        let changes: [fn(&mut Seal); 13] = [
            |s| s.chain.organization[3] ^= 1,
            |s| s.chain.installation += 1,
            |s| s.number += 1,
            |s| s.first_sequence += 1,
            |s| s.row_count += 1,
            |s| s.row_ids[0] += 1,
            |s| s.row_ids.swap(0, 1),
            |s| s.row_digests[40] ^= 1,
            |s| s.last_id += 1,
            |s| s.last_at += 1,
            |s| s.sealed_at += 1,
            |s| s.salt[0] ^= 1,
            |s| s.previous[31] ^= 1,
        ];
        for change in changes {
            let mut seal = seal();
            change(&mut seal);
            assert!(!seal.is_consistent());
        }
        assert_eq!(seal().head(), Head { number: 3, digest: seal().digest, sequence: 8 });
    }
}
