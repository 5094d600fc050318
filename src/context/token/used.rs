//! Tokens that were used and have not expired: a hash table of a fixed number of places. Pure: any memory will do.
//!
//! A process may be killed at any instruction, and the memory outlives it: what an earlier server left is read place by
//! place, each with its sum, and entered anew.

const MAGIC: u64 = u64::from_le_bytes(*b"orgscoj1");
/// The end of a chain.
const NONE: u32 = u32::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    magic: u64,
    places: u64,
    /// No place that is in use expires before this.
    earliest: i64,
    free: u32,
    _padding: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Place {
    id: [u8; 16],
    /// Seconds since 1970; 0 when free.
    expires: i64,
    sum: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Use {
    First,
    Again,
    Full,
}

pub struct Used<'a> {
    header: &'a mut Header,
    heads: &'a mut [u32],
    places: &'a mut [Place],
}

pub fn size(places: usize) -> usize {
    size_of::<Header>() + places * (size_of::<u32>() + size_of::<Place>())
}

impl<'a> Used<'a> {
    /// Memory that holds a table already. None when it holds something else, or not all of it.
    ///
    /// # Safety
    /// `memory` is readable and writable for `length` bytes, aligned to 8, and nobody else's while the table is used.
    pub unsafe fn open(memory: *mut u8, length: usize) -> Option<Self> {
        if length < size_of::<Header>() {
            return None;
        }
        // SAFETY: the caller's; all fields are plain numbers, for which every bit pattern is valid.
        let header = unsafe { &mut *memory.cast::<Header>() };
        let places = usize::try_from(header.places).ok()?;
        if header.magic != MAGIC || places == 0 || places > length / size_of::<Place>() || length < size(places) {
            return None;
        }
        // SAFETY: as above, and the lengths were checked. The places come first, for their alignment.
        unsafe {
            let first = memory.add(size_of::<Header>()).cast::<Place>();
            let heads = std::slice::from_raw_parts_mut(first.add(places).cast::<u32>(), places);
            Some(Self { header, heads, places: std::slice::from_raw_parts_mut(first, places) })
        }
    }

    /// Makes an empty table.
    ///
    /// # Safety
    /// As for `open`, and `length` is at least `size(places)`.
    pub unsafe fn create(memory: *mut u8, length: usize, places: usize) -> Option<Self> {
        let header = Header { magic: MAGIC, places: places as u64, earliest: i64::MAX, free: 0, _padding: 0 };
        // SAFETY: the caller's.
        let table = unsafe {
            memory.cast::<Header>().write(header);
            Self::open(memory, length)
        }?;
        table.heads.fill(NONE);
        for (i, place) in table.places.iter_mut().enumerate() {
            let next = if i + 1 < places { i as u32 + 1 } else { NONE };
            *place = Place { id: [0; 16], expires: 0, sum: 0, next };
        }
        Some(table)
    }

    /// Whether this is the first use of the token. Times in seconds since 1970.
    pub fn enter(&mut self, id: &[u8; 32], expires: i64, now: i64) -> Use {
        let mut short = [0; 16];
        short.copy_from_slice(&id[..16]);
        self.enter_short(short, expires, now)
    }

    fn enter_short(&mut self, id: [u8; 16], expires: i64, now: i64) -> Use {
        let bucket = self.bucket(&id);
        self.free_expired(bucket, now);
        let mut at = self.heads[bucket];
        while let Some(place) = self.places.get(at as usize) {
            if place.id == id {
                return Use::Again;
            }
            at = place.next;
        }
        if self.header.free == NONE {
            self.sweep(now);
        }
        let free = self.header.free as usize;
        let Some(place) = self.places.get_mut(free) else { return Use::Full };
        self.header.free = place.next;
        *place = Place { id, expires, sum: checksum(&id, expires), next: self.heads[bucket] };
        self.heads[bucket] = free as u32;
        self.header.earliest = self.header.earliest.min(expires);
        Use::First
    }

    fn bucket(&self, id: &[u8; 16]) -> usize {
        (super::jwks::short(id) % self.heads.len() as u64) as usize
    }

    /// Takes what has expired out of one chain.
    fn free_expired(&mut self, bucket: usize, now: i64) {
        let (mut at, mut kept) = (self.heads[bucket], NONE);
        while let Some(place) = self.places.get(at as usize).copied() {
            if place.expires > now {
                kept = at;
            } else {
                match self.places.get_mut(kept as usize) {
                    Some(before) => before.next = place.next,
                    None => self.heads[bucket] = place.next,
                }
                self.places[at as usize] = Place { id: [0; 16], expires: 0, sum: 0, next: self.header.free };
                self.header.free = at;
            }
            at = place.next;
        }
    }

    /// All chains; only when something has expired since the last time.
    fn sweep(&mut self, now: i64) {
        if self.header.earliest > now {
            return;
        }
        (0..self.heads.len()).for_each(|bucket| self.free_expired(bucket, now));
        self.header.earliest = self.places.iter().map(|p| p.expires).filter(|e| *e > 0).min().unwrap_or(i64::MAX);
    }

    /// Takes over what an earlier server left, whole places only.
    pub fn adopt(&mut self, old: &Used, now: i64) {
        for place in old.places.iter().filter(|p| p.expires > now && p.sum == checksum(&p.id, p.expires)) {
            self.enter_short(place.id, place.expires, now);
        }
    }
}

fn checksum(id: &[u8; 16], expires: i64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id);
    hasher.update(&expires.to_le_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn memory(places: usize) -> Vec<u64> {
        vec![0; size(places).div_ceil(8)]
    }

    fn table(memory: &mut [u64], places: usize) -> Used<'_> {
        // SAFETY: the memory is as long as is said, aligned for u64, and borrowed for as long as the table is used.
        unsafe { Used::create(memory.as_mut_ptr().cast(), memory.len() * 8, places) }.unwrap()
    }

    fn id(n: u8) -> [u8; 32] {
        [n; 32]
    }

    #[test]
    fn a_token_is_used_once_until_it_expires_and_a_full_table_takes_none() {
        let mut memory = memory(2);
        let mut t = table(&mut memory, 2);
        assert_eq!((t.enter(&id(1), 100, 10), t.enter(&id(1), 100, 11)), (Use::First, Use::Again));
        assert_eq!((t.enter(&id(2), 200, 10), t.enter(&id(3), 200, 10)), (Use::First, Use::Full));
        assert_eq!((t.enter(&id(2), 200, 99), t.enter(&id(3), 300, 100)), (Use::Again, Use::First));
        assert_eq!(t.enter(&id(4), 300, 150), Use::Full);
    }

    #[test]
    fn the_next_server_remembers_what_is_whole() {
        let (mut old, mut new) = (memory(8), memory(4));
        let mut t = table(&mut old, 8);
        (1..=3).for_each(|n| assert_eq!(t.enter(&id(n), 100 * i64::from(n), 1), Use::First));
        t.places[1].expires += 1;
        // SAFETY: as in table().
        let old = unsafe { Used::open(old.as_mut_ptr().cast(), old.len() * 8) }.unwrap();
        let mut t = table(&mut new, 4);
        t.adopt(&old, 100);
        assert_eq!((t.enter(&id(3), 300, 100), t.enter(&id(2), 200, 100)), (Use::Again, Use::First));
    }

    #[test]
    fn something_else_is_no_table() {
        let mut other = vec![1u64; 64];
        // SAFETY: the memory is at least as long as is said.
        assert!(unsafe { Used::open(other.as_mut_ptr().cast(), 512) }.is_none());
        let mut short = memory(2);
        table(&mut short, 2);
        // SAFETY: as above.
        assert!(unsafe { Used::open(short.as_mut_ptr().cast(), size(2) - 1) }.is_none());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((0u8..12, 1i64..20, 0i64..4), 1..200)) {
            let mut memory = memory(5);
            let mut t = table(&mut memory, 5);
            let (mut map, mut now) = (HashMap::new(), 0);
            for (name, lasts, passes) in steps {
                now += passes;
                map.retain(|_, expires| *expires > now);
                let expected = match (map.contains_key(&name), map.len()) {
                    (true, _) => Use::Again,
                    (false, 5) => Use::Full,
                    _ => Use::First,
                };
                prop_assert_eq!(t.enter(&id(name), now + lasts, now), expected);
                if expected == Use::First {
                    map.insert(name, now + lasts);
                }
            }
        }
    }
}
