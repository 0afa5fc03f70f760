//! One remedy a page: each changes something within the plan's bounds and leaves nothing behind.

pub(crate) mod defrag;
pub(crate) mod purge;
pub(crate) mod repack;
