//! `unfrag acl`: the rights a command needs, and no more.

use crate::args::AclArgs;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use unfrag_act::RemedyName;
use unfrag_act::restart::Mode;
use unfrag_client::acl::{Reading, line_of};

/// One line to paste: what it is good for, and the rules.
type Line = (String, Vec<&'static str>);

/// A command and its lines, in the order of the help.
type Page = (&'static str, fn() -> Vec<Line>);

/// A new command's rights are one more entry here.
const PAGES: &[Page] = &[
    ("check", check),
    ("fix", fix),
    ("restart", restart),
    ("reshape", reshape),
    ("undo", undo),
    ("rdb", rdb),
    ("keys", keys),
    ("watch", check),
    ("top", check),
];

pub(crate) fn run(args: &AclArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let Some((_, lines)) = PAGES.iter().find(|(name, _)| *name == args.command) else {
        let known: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "no rights are known for '{}'; commands are: {}",
            args.command,
            known.join(", ")
        );
        return Err(UsageError { message }.into());
    };
    // A name with a blank would end the user's part and begin a rule.
    if args.user.is_empty() || args.user.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UsageError { message: "a user's name holds no blanks".to_owned() }.into());
    }
    for (purpose, rules) in lines() {
        printer.data(&format!("# {purpose}\n{}\n", line_of(&rules, &args.user)));
    }
    Ok(Exit::Fine)
}

fn check() -> Vec<Line> {
    [Reading::Server, Reading::ClusterNode, Reading::Sentinel]
        .map(|reading| (reading.to_string(), reading.rules()))
        .to_vec()
}

fn rdb() -> Vec<Line> {
    [Reading::Snapshot, Reading::Sentinel]
        .map(|reading| (reading.to_string(), reading.rules()))
        .to_vec()
}

/// The sample says for which server keys are sized; the snapshot holds them, and a scan asks for each.
fn keys() -> Vec<Line> {
    let rules = union(&[&Reading::ClusterNode.rules(), &Reading::Snapshot.rules()]);
    let purpose = "keys of a server or a Cluster: every value can be read so".to_owned();
    let others = [Reading::ScanLengths, Reading::Scan, Reading::Sentinel];
    let mut lines = vec![(purpose, rules)];
    lines.extend(others.map(|reading| (reading.to_string(), reading.rules())));
    lines
}

fn restart() -> Vec<Line> {
    let mut lines: Vec<Line> = [
        (Mode::Plain, "plain: keys are read to compare a sample"),
        (Mode::Swap, "swap: users and settings are carried, so this is an administrator"),
        (Mode::Rolling, "rolling, on every server"),
    ]
    .map(|(mode, purpose)| {
        let own = unfrag_act::restart::rules(mode).0;
        (purpose.to_owned(), union(&[&Reading::ClusterNode.rules(), &own]))
    })
    .to_vec();
    let sentinel = unfrag_act::restart::rules(Mode::Rolling).1;
    let purpose = "rolling, on the Sentinels".to_owned();
    lines.push((purpose, union(&[&Reading::Sentinel.rules(), &sentinel])));
    lines
}

/// What `fix` may have left, what `restart` and `reshape` may have.
fn undo() -> Vec<Line> {
    [fix(), restart(), reshape()].concat()
}

fn union(lists: &[&[&'static str]]) -> Vec<&'static str> {
    let mut rules = vec![];
    for rule in lists.concat() {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn fix() -> Vec<Line> {
    let with = |remedies: &[RemedyName]| {
        let mut rules = Reading::ClusterNode.rules();
        for rule in remedies.iter().flat_map(|remedy| unfrag_act::acl::rules(*remedy)) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules
    };
    vec![
        ("purge and active defrag: no key is read".to_owned(), with(&[RemedyName::Defrag])),
        (
            "all that fix does: repack copies keys, so this user may".to_owned(),
            with(&[RemedyName::Defrag, RemedyName::Repack]),
        ),
        ("a Sentinel".to_owned(), Reading::Sentinel.rules()),
    ]
}

fn reshape() -> Vec<Line> {
    let line = |kind: &str, by_field: bool, purpose: &str| {
        let mut rules = Reading::ClusterNode.rules();
        rules.extend(unfrag_act::reshape::rights::rules(kind, by_field));
        (purpose.to_owned(), rules)
    };
    vec![
        line(
            "hash",
            false,
            "reshape hash, and its undo; keys may be narrowed from ~* to the two patterns",
        ),
        line("hash", true, "the same on Redis 7.4, Valkey 9.0 and later, where fields can expire"),
        line(
            "compress",
            false,
            "reshape compress, and its undo; keys may be narrowed from ~* to --match",
        ),
    ]
}
