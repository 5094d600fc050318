//! Who stepped around row security is on record.

pub mod administration;
pub mod commands;
pub mod ddl;
pub mod entry;
pub mod immutable;
pub mod observed;
pub mod writes;

pub fn init() {
    writes::init();
    observed::init();
    administration::init();
}
