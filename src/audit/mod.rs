//! Who stepped around row security is on record.

pub mod break_glass;
pub mod ddl;
pub mod immutable;
pub mod observed;
pub mod writes;

pub fn init() {
    writes::init();
    observed::init();
}
