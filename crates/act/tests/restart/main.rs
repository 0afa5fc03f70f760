//! `restart` on real servers under busy clients: nothing that was answered is lost, whatever happens half way.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod killed;
mod load;
mod plain;
mod refusals;
mod rights;
mod rolling;
mod site;
mod supervised;
mod swap;
