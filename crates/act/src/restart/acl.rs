//! Users and their rights, carried from one process to another.
