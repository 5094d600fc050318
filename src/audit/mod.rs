//! Who stepped around row security is on record.

pub mod chain;
pub mod ddl;
pub mod immutable;
pub mod observed;
pub mod partitions;
pub mod writes;

pub fn init() {
    writes::init();
    observed::init();
    chain::init();
}
