//! Who stepped around row security is on record.

pub mod ddl;
pub mod immutable;
pub mod writes;

pub fn init() {
    writes::init();
}
