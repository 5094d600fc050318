//! What later majors brought that touches organizations: one module for each major, named `since_N`, run from that major
//! on (`cargo xtask test` leaves the others out).

#[path = "../common/mod.rs"]
mod common;
mod since_16;
mod since_17;
mod since_18;
