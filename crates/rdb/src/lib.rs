//! RDB snapshots of Redis and Valkey: read, verify, size.

pub mod crc;
pub mod format;
pub mod input;
pub mod length;
pub mod lzf;
pub mod problem;
pub mod reader;
pub mod text;
pub mod value;
