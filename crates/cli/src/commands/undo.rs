//! `unfrag undo`: finish the clean-up of a fix or a restart that was killed.

use crate::args::{Form, UndoArgs};
use crate::exit::Exit;
use crate::printer::Printer;
use crate::render::fix as render;
use anyhow::Context;
use unfrag_act::permit::Consent;
use unfrag_act::{ActError, ChangePermit, Journals, Undone, undo};
use unfrag_client::{Address, ConnectOptions, DiscoverOptions, Target, discover};

pub(crate) fn run(args: &UndoArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let (mut exit, mut all) = (Exit::Fine, vec![]);
    let journals = Journals::of_user();
    for (target, options) in args.connect.named()?.targets {
        let options = ConnectOptions { db: 0, resp3: false, ..options };
        let addresses = runtime.block_on(addresses(&target, &options, &journals))?;
        if addresses.is_empty() {
            say(args, printer, target.to_string(), Undone::default(), &mut all);
        }
        for address in addresses {
            // The command itself is the word of the user: it only ever puts back.
            let permit = |run_id: &str| ChangePermit::mint(Consent::Flag, run_id);
            match runtime.block_on(undo(&address, &options, &journals, permit)) {
                Ok(undone) => {
                    if !undone.is_complete() {
                        exit = Exit::RollBackFailed;
                    }
                    say(args, printer, address.to_string(), undone, &mut all);
                }
                // It says what a person has to do: the journal stays.
                Err(error @ ActError::Unsafe(_)) => {
                    printer.error(&error.into());
                    exit = Exit::RollBackFailed;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if args.output == Form::Json {
        printer.data(&render::undone_json(&all)?);
    }
    Ok(exit)
}

/// To people at once, server by server; one document is made of all of them.
fn say(
    args: &UndoArgs,
    printer: &Printer,
    target: String,
    undone: Undone,
    all: &mut Vec<(String, Undone)>,
) {
    if args.output == Form::Human {
        printer.data(&render::undone(&target, &undone));
    }
    all.push((target, undone));
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
