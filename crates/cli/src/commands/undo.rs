//! `unfrag undo`: finish the clean-up of a fix, a restart or a reshape that was killed.

use crate::args::{Form, UndoArgs};
use crate::exit::{self, Exit};
use crate::printer::Printer;
use crate::render::{Failure, fix as render};
use anyhow::Context;
use unfrag_act::permit::Consent;
use unfrag_act::{ActError, ChangePermit, Journals, Undone, undo};
use unfrag_client::{Address, ConnectOptions, DiscoverOptions, Target, discover};

pub(crate) fn run(args: &UndoArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let mut all = vec![];
    let ended = all_of(args, printer, &mut all);
    if let Err(error) = &ended {
        printer.error_in_columns(error);
        all.push((None, Err(Failure::of(error))));
    }
    if args.output == Form::Json {
        printer.data(&render::undone_json(&all)?);
    }
    Ok(ended.unwrap_or_else(|error| exit::of(&error)))
}

/// What became of each server: undone, or why not.
type Done = (Option<String>, Result<Undone, Failure>);

/// An error is one that keeps it from going through the servers at all.
fn all_of(args: &UndoArgs, printer: &Printer, all: &mut Vec<Done>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let mut worst = Exit::Fine;
    let journals = Journals::of_user();
    for (target, options) in args.connect.named()?.targets {
        let options = ConnectOptions { db: 0, resp3: false, ..options };
        let addresses = match runtime.block_on(addresses(&target, &options, &journals)) {
            Ok(addresses) => addresses,
            Err(error) => {
                worst = worse(worst, exit::of(&error));
                printer.error_in_columns(&error);
                all.push((Some(target.to_string()), Err(Failure::of(&error))));
                continue;
            }
        };
        if addresses.is_empty() {
            say(args, printer, target.to_string(), Undone::default(), all);
        }
        for address in addresses {
            // The command itself is the word of the user: it only ever puts back.
            let permit = |run_id: &str| ChangePermit::mint(Consent::Flag, run_id);
            match runtime.block_on(undo(&address, &options, &journals, permit)) {
                Ok(undone) => {
                    if !undone.is_complete() {
                        worst = worse(worst, Exit::RollBackFailed);
                    }
                    say(args, printer, address.to_string(), undone, all);
                }
                Err(error) => {
                    // It says what a person has to do: the journal stays.
                    let has_failed = matches!(error, ActError::Unsafe(_));
                    let error = error.into();
                    let exit = if has_failed { Exit::RollBackFailed } else { exit::of(&error) };
                    worst = worse(worst, exit);
                    printer.error_in_columns(&error);
                    all.push((Some(address.to_string()), Err(Failure::of(&error))));
                }
            }
        }
    }
    Ok(worst)
}

fn worse(one: Exit, other: Exit) -> Exit {
    if other as u8 > one as u8 { other } else { one }
}

/// To people at once, server by server; one document is made of all of them.
fn say(args: &UndoArgs, printer: &Printer, target: String, undone: Undone, all: &mut Vec<Done>) {
    if args.output == Form::Human {
        printer.data(&render::undone(&target, &undone, printer.paint()));
    }
    all.push((Some(target), Ok(undone)));
}

/// A server by itself; of what Sentinels watch, the servers that an interrupted run was on.
async fn addresses(
    target: &Target,
    options: &ConnectOptions,
    journals: &Journals,
) -> anyhow::Result<Vec<Address>> {
    if let Target::Server(address) = target {
        return Ok(vec![address.clone()]);
    }
    let found = discover(target, options, DiscoverOptions::default()).await?;
    let left = journals.unfinished()?;
    let has_left = |a: &Address| left.iter().any(|run| run.target == a.to_string());
    Ok(found.nodes.into_iter().map(|n| n.address).filter(has_left).collect())
}
