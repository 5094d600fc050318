//! Who stepped around row security is on record.

pub mod administration;
pub mod attempts;
pub mod chain;
pub mod commands;
pub mod ddl;
pub mod denied;
pub mod detect;
pub mod entry;
pub mod event;
pub mod immutable;
pub mod locks;
pub mod observed;
pub mod partitions;
pub mod queue;
pub mod reads;
pub mod registry;
pub mod writes;

pub fn init() {
    writes::init();
    observed::init();
    attempts::init();
    entry::init();
    queue::init();
    detect::init();
    administration::init();
    chain::init();
}
