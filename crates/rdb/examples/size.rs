//! Placeholder until sizing lands.
fn main() {}
