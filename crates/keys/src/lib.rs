//! Which keys hold the memory: a snapshot becomes patterns, biggest keys and advice with bytes.
pub mod duplicate;
pub mod histogram;
pub mod sample;
pub mod shape;
pub mod stats;
pub mod tally;
pub mod time;
pub mod top;
pub mod tree;
