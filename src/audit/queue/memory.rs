//! The queue's memory: a fixed number of places for different events, each with its numbers. Pure: any memory will do.
//!
//! A process may be killed at any instruction, and the memory outlives it. So a place is filled first and then declared
//! full, and whoever reads it after a crash checks its sum.

use super::kind::ByKind;
use crate::audit::event::Counts;

/// Longest event, as JSON.
pub const LONGEST: usize = 4096 - size_of::<Place>();
const MAGIC: u64 = u64::from_le_bytes(*b"orgscop2");

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Header {
    magic: u64,
    places: u64,
    /// No place from here on was ever full.
    used: u64,
    totals: Totals,
}

/// Events since the memory was made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub queued: u64,
    pub written: u64,
    /// Neither queued nor written: only in the server's log, if that took them.
    pub logged: u64,
    /// All of these, and what transactions have written into the log themselves.
    pub by_kind: ByKind,
}

#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free = 0,
    Ready = 1,
    /// A writer is at it, as part of a batch.
    Taken = 2,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Place {
    state: u32,
    database: u32,
    length: u32,
    sum: u32,
    batch: u64,
    events: u64,
    rows: u64,
    first: i64,
    last: i64,
    transaction: u64,
}

/// `rows` and `transaction` when there is no number.
const NONE: u64 = u64::MAX;

impl Place {
    fn counts(&self) -> Counts {
        let known = |n: u64| (n != NONE).then_some(n);
        Counts {
            events: self.events,
            rows: known(self.rows),
            first: self.first,
            last: self.last,
            transaction: known(self.transaction),
        }
    }

    fn is(&self, state: State) -> bool {
        self.state == state as u32
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    pub database: u32,
    pub json: Vec<u8>,
    pub counts: Counts,
}

#[derive(Debug, PartialEq)]
pub enum Pushed {
    New,
    Merged,
    Full,
}

pub struct Queue<'a> {
    header: &'a mut Header,
    places: &'a mut [Place],
    texts: &'a mut [[u8; LONGEST]],
}

/// Bytes for so many different events.
pub fn size(places: usize) -> usize {
    size_of::<Header>() + places * (size_of::<Place>() + LONGEST)
}

impl<'a> Queue<'a> {
    /// Memory that holds a queue already. None when it holds something else, or not all of it.
    ///
    /// # Safety
    /// `memory` is readable and writable for `length` bytes, aligned to 8, and nobody else's while the queue is used.
    pub unsafe fn open(memory: *mut u8, length: usize) -> Option<Self> {
        if length < size_of::<Header>() {
            return None;
        }
        // SAFETY: the caller's; all fields are plain numbers, for which every bit pattern is valid.
        let header = unsafe { &mut *memory.cast::<Header>() };
        let places = usize::try_from(header.places).ok()?;
        if header.magic != MAGIC || places > length / LONGEST || length < size(places) {
            return None;
        }
        // SAFETY: as above, and the lengths were checked.
        unsafe {
            let first = memory.add(size_of::<Header>()).cast::<Place>();
            let texts = first.add(places).cast::<[u8; LONGEST]>();
            let places = std::slice::from_raw_parts_mut(first, places);
            let texts = std::slice::from_raw_parts_mut(texts, places.len());
            header.used = header.used.min(header.places);
            Some(Self { header, places, texts })
        }
    }

    /// Makes an empty queue of zeroed memory.
    ///
    /// # Safety
    /// As for `open`, and `length` is at least `size(places)`.
    pub unsafe fn create(memory: *mut u8, length: usize, places: usize) -> Option<Self> {
        // SAFETY: the caller's.
        unsafe {
            memory.cast::<Header>().write(Header { magic: MAGIC, places: places as u64, ..Header::default() });
            Self::open(memory, length)
        }
    }

    pub fn totals(&mut self) -> &mut Totals {
        &mut self.header.totals
    }

    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    pub fn waiting(&self) -> usize {
        self.used().iter().filter(|p| !p.is(State::Free)).count()
    }

    fn used(&self) -> &[Place] {
        &self.places[..self.header.used as usize]
    }

    pub fn push(&mut self, database: u32, json: &[u8], counts: Counts) -> Pushed {
        let sum = checksum(database, json);
        let mut free = None;
        for i in 0..self.header.used as usize {
            let place = &mut self.places[i];
            if place.is(State::Ready) && (place.sum, place.database, place.length) == (sum, database, json.len() as u32)
            {
                if self.texts[i][..json.len()] == *json {
                    merge(place, counts);
                    self.header.totals.queued += counts.events;
                    return Pushed::Merged;
                }
            } else if free.is_none() && place.is(State::Free) {
                free = Some(i);
            }
        }
        let next = self.header.used as usize;
        let Some(i) = free.or((next < self.places.len()).then_some(next)) else { return Pushed::Full };
        // Rows that come after their event give way to events.
        if json.len() > LONGEST || counts.events == 0 && self.is_half_full() {
            return Pushed::Full;
        }
        self.texts[i][..json.len()].copy_from_slice(json);
        self.places[i] = Place {
            state: State::Free as u32,
            database,
            length: json.len() as u32,
            sum,
            batch: 0,
            events: counts.events,
            rows: counts.rows.unwrap_or(NONE),
            first: counts.first,
            last: counts.last,
            transaction: counts.transaction.unwrap_or(NONE),
        };
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        self.places[i].state = State::Ready as u32;
        self.header.used = self.header.used.max(i as u64 + 1);
        self.header.totals.queued += counts.events;
        Pushed::New
    }

    /// Hands a writer what is ready for its database. It stays in the queue until the batch is confirmed.
    pub fn take(&mut self, database: u32, batch: u64) -> Vec<Queued> {
        let mut taken = Vec::new();
        for i in 0..self.header.used as usize {
            let place = &mut self.places[i];
            if place.is(State::Ready) && place.database == database {
                place.batch = batch;
                place.state = State::Taken as u32;
                taken.extend(self.read(i));
            }
        }
        taken
    }

    /// The batch is written.
    pub fn confirm(&mut self, database: u32, batch: u64) {
        for i in 0..self.header.used as usize {
            let place = &mut self.places[i];
            if place.is(State::Taken) && (place.database, place.batch) == (database, batch) {
                self.header.totals.written += place.events;
                place.state = State::Free as u32;
            }
        }
        while let Some(last) = self.used().last()
            && last.is(State::Free)
        {
            self.header.used -= 1;
        }
    }

    /// After a writer has gone: what it had taken was written if the database says so, and is ready again otherwise.
    pub fn recover(&mut self, database: u32, written: Option<u64>) {
        if let Some(batch) = written {
            self.confirm(database, batch);
        }
        let used = self.header.used as usize;
        for place in self.places[..used].iter_mut().filter(|p| p.is(State::Taken) && p.database == database) {
            place.state = State::Ready as u32;
        }
    }

    /// Databases for which something waits.
    pub fn databases(&self) -> Vec<u32> {
        let mut databases: Vec<u32> = self.used().iter().filter(|p| !p.is(State::Free)).map(|p| p.database).collect();
        databases.sort_unstable();
        databases.dedup();
        databases
    }

    /// Whether something waits for the database that was there at a time.
    pub fn waits_since(&self, database: u32, at: i64) -> bool {
        self.used().iter().any(|p| !p.is(State::Free) && p.database == database && p.first <= at)
    }

    /// When the first event came that waits, for whatever database.
    pub fn oldest(&self) -> Option<i64> {
        self.used().iter().filter(|p| !p.is(State::Free)).map(|p| p.first).min()
    }

    /// Whether a writer should hurry.
    pub fn is_half_full(&self) -> bool {
        self.header.used as usize > self.places.len() / 2
    }

    /// Takes over what an earlier server left, whole places only; a batch goes on as one.
    pub fn adopt(&mut self, old: &Queue) {
        self.header.totals = old.header.totals;
        for i in 0..old.header.used as usize {
            let at = self.header.used as usize;
            if at < self.places.len() && !old.places[i].is(State::Free) && old.read(i).is_some() {
                self.places[at] = old.places[i];
                self.texts[at] = old.texts[i];
                self.header.used += 1;
            }
        }
    }

    fn read(&self, i: usize) -> Option<Queued> {
        let place = &self.places[i];
        let json = self.texts[i].get(..place.length as usize)?;
        (checksum(place.database, json) == place.sum).then(|| Queued {
            database: place.database,
            json: json.to_vec(),
            counts: place.counts(),
        })
    }
}

fn merge(place: &mut Place, counts: Counts) {
    if let Some(rows) = counts.rows {
        place.rows = if place.rows == NONE { rows } else { place.rows + rows };
    }
    if place.transaction != counts.transaction.unwrap_or(NONE) {
        place.transaction = NONE;
    }
    place.last = counts.last;
    place.events += counts.events;
}

fn checksum(database: u32, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&database.to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn memory(places: usize) -> Vec<u64> {
        vec![0; size(places).div_ceil(8)]
    }

    fn queue(memory: &mut [u64], places: usize) -> Queue<'_> {
        unsafe { Queue::create(memory.as_mut_ptr().cast(), memory.len() * 8, places) }.unwrap()
    }

    fn reopened(memory: &mut [u64]) -> Queue<'_> {
        unsafe { Queue::open(memory.as_mut_ptr().cast(), memory.len() * 8) }.unwrap()
    }

    fn once(at: i64) -> Counts {
        Counts { events: 1, rows: Some(2), first: at, last: at, transaction: Some(7) }
    }

    #[test]
    fn equal_events_are_counted_and_different_ones_kept_apart() {
        let mut memory = memory(3);
        let mut q = queue(&mut memory, 3);
        assert_eq!(q.push(1, b"a", once(10)), Pushed::New);
        assert_eq!(q.push(1, b"a", Counts { transaction: None, rows: None, ..once(11) }), Pushed::Merged);
        assert_eq!(q.push(2, b"a", once(12)), Pushed::New);
        assert_eq!(q.push(1, b"b", once(13)), Pushed::New);
        assert_eq!(q.push(1, b"c", once(14)), Pushed::Full);
        assert_eq!((q.databases(), q.waits_since(2, 11), q.waits_since(2, 12)), (vec![1, 2], false, true));
        let taken = q.take(1, 99);
        assert_eq!(taken.iter().map(|t| t.json.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(taken[0].counts, Counts { events: 2, rows: Some(2), first: 10, last: 11, transaction: None });
        // What comes while the batch is written is the next batch's.
        assert_eq!(q.push(1, b"a", once(15)), Pushed::Full);
        q.confirm(1, 99);
        assert_eq!((q.push(1, b"a", once(16)), q.take(1, 100).len(), q.waiting()), (Pushed::New, 1, 2));
        assert_eq!((q.oldest(), *q.totals()), (Some(12), Totals { queued: 5, written: 3, ..Totals::default() }));
        q.recover(2, None);
        q.take(2, 101);
        q.confirm(1, 100);
        q.confirm(2, 101);
        assert_eq!(q.oldest(), None);
    }

    #[test]
    fn rows_that_come_later_join_their_event_and_take_no_room_from_others() {
        let mut memory = memory(4);
        let mut q = queue(&mut memory, 4);
        let rows = Counts { events: 0, rows: Some(7), ..once(11) };
        q.push(1, b"a", Counts { rows: None, ..once(10) });
        assert_eq!(q.push(1, b"a", rows), Pushed::Merged);
        let taken = q.take(1, 1);
        assert_eq!(taken[0].counts, Counts { events: 1, rows: Some(7), first: 10, last: 11, transaction: Some(7) });
        assert_eq!(q.push(1, b"a", rows), Pushed::New);
        q.push(1, b"b", once(12));
        assert_eq!((q.push(1, b"c", rows), q.push(1, b"c", once(13))), (Pushed::Full, Pushed::New));
        assert_eq!(*q.totals(), Totals { queued: 3, ..Totals::default() });
    }

    #[test]
    fn a_batch_is_written_once_whatever_its_writer_came_to() {
        for (written, left) in [(Some(5), 0), (Some(4), 1), (None, 1)] {
            let mut memory = memory(4);
            let mut q = queue(&mut memory, 4);
            q.push(1, b"a", once(1));
            q.take(1, 5);
            let mut q = reopened(&mut memory);
            q.recover(1, written);
            assert_eq!(q.take(1, 6).len(), left, "{written:?}");
        }
    }

    #[test]
    fn a_larger_or_smaller_queue_takes_over_what_is_whole() {
        let mut old = memory(4);
        let mut q = queue(&mut old, 4);
        for name in [b"a", b"b", b"c"] {
            q.push(1, name, once(1));
        }
        q.texts[1][0] = b'x';
        q.totals().by_kind[2] = 7;
        let mut new = memory(8);
        let mut larger = queue(&mut new, 8);
        larger.adopt(&reopened(&mut old));
        assert_eq!(larger.take(1, 1).iter().map(|t| t.json.as_slice()).collect::<Vec<_>>(), [b"a", b"c"]);
        assert_eq!(larger.totals().by_kind[2], 7);
        let mut tiny = memory(1);
        let mut smaller = queue(&mut tiny, 1);
        smaller.adopt(&reopened(&mut old));
        assert_eq!(smaller.waiting(), 1);
    }

    #[test]
    fn something_else_is_no_queue() {
        let mut other = vec![1u64; 64];
        assert!(unsafe { Queue::open(other.as_mut_ptr().cast(), 512) }.is_none());
        let mut short = memory(2);
        queue(&mut short, 2);
        assert!(unsafe { Queue::open(short.as_mut_ptr().cast(), size(2) - 1) }.is_none());
        assert!(unsafe { Queue::open(short.as_mut_ptr().cast(), 3) }.is_none());
    }

    proptest! {
        /// Every event is written, waits, or was refused: none is counted twice or lost.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0u8..6, 0u8..4, 1u32..3), 1..200)) {
            let mut memory = memory(5);
            let mut q = queue(&mut memory, 5);
            let (mut pushed, mut full, mut written, mut batch, mut last) = (0, 0, 0, 0u64, None);
            for (step, name, database) in steps {
                match step {
                    0..=2 => match q.push(database, &[b'a' + name], once(1)) {
                        Pushed::Full => full += 1,
                        _ => pushed += 1,
                    },
                    3 => {
                        q.recover(database, last);
                        batch += 1;
                        q.take(database, batch);
                        last = None;
                    }
                    4 => {
                        q.confirm(database, batch);
                    }
                    _ => q.recover(database, last),
                }
                written = q.totals().written;
            }
            let waiting: u64 = q.places.iter().filter(|p| !p.is(State::Free)).map(|p| p.events).sum();
            prop_assert_eq!(pushed, written + waiting);
            prop_assert_eq!(q.totals().queued, pushed);
            let _ = full;
        }
    }
}
