//! The least rights that a reshape and its undo need beyond reading a server. A test runs both as exactly this user.

/// What every server has. Not PEXPIRETIME: 6.2 does not know it and would refuse the whole line, and the scripts do
/// without it.
const EVERYWHERE: &[&str] = &[
    "~*",
    "+ping",
    "+select",
    "+scan",
    "+script|load",
    "+evalsha",
    "+type",
    "+strlen",
    "+get",
    "+getrange",
    "+pttl",
    "+time",
    "+cluster|countkeysinslot",
];
const HASH: &[&str] = &[
    "+set",
    "+unlink",
    "+pexpireat",
    "+hset",
    "+hget",
    "+hdel",
    "+hexists",
    "+hlen",
    "+hstrlen",
    "+hkeys",
    "+hscan",
    "+hgetall",
    "+object|encoding",
];
const COMPRESS: &[&str] = &["+set", "+dump", "+restore", "+object|idletime", "+object|freq"];
/// Redis 7.4 and Valkey 9.0 on: fields that expire by themselves.
const BY_FIELD: &[&str] = &["+pexpiretime", "+client|no-touch", "+hpexpireat", "+hpexpiretime"];

/// The rules for one kind of reshape; `by_field` for servers whose fields can expire.
pub fn rules(kind: &str, by_field: bool) -> Vec<&'static str> {
    let own = if kind == "hash" { HASH } else { COMPRESS };
    [EVERYWHERE, own, if by_field { BY_FIELD } else { &[] }].concat()
}
