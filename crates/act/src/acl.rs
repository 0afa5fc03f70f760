//! The least rights that [`execute()`](crate::execute()) and [`undo()`](crate::undo()) need beyond reading. A test runs
//! both as exactly this user on real servers.

use crate::RemedyName;

/// MEMORY PURGE, and settings that are changed for a while and put back: the allocator's own thread, defrag's. PING is the
/// latency probe's.
const PURGE: &[&str] = &["+memory|purge", "+ping", "+config|set"];
/// Every key is copied by a script, under names of our own; SET and UNLINK are for those. Not PEXPIRETIME: 6.2 does not
/// know it and would refuse the whole line, and the script does without it.
const REPACK: &[&str] = &[
    "~*",
    "+select",
    "+scan",
    "+script|load",
    "+evalsha",
    "+copy",
    "+rename",
    "+set",
    "+unlink",
    "+pexpire",
    "+pexpireat",
    "+pttl",
    "+time",
    "+dump",
    "+restore",
    "+object|idletime",
    "+object|freq",
    "+memory|usage",
    "+cluster|getkeysinslot",
    "+cluster|countkeysinslot",
];

/// The rules a remedy adds to those of reading a server; defrag and repack end with purges.
pub fn rules(remedy: RemedyName) -> Vec<&'static str> {
    match remedy {
        RemedyName::Purge | RemedyName::Defrag => PURGE.to_vec(),
        RemedyName::Repack => [PURGE, REPACK].concat(),
    }
}
