//! `unfrag undo`: finish the clean-up of a fix that was killed.

use crate::args::{Form, UndoArgs};
use crate::exit::Exit;
use crate::printer::Printer;
use crate::render::fix as render;
use anyhow::Context;
use unfrag_act::permit::Consent;
use unfrag_act::{ChangePermit, Journals, undo};
use unfrag_client::{ConnectOptions, Target};

pub(crate) fn run(args: &UndoArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let mut exit = Exit::Fine;
    for (target, options) in args.connect.named()?.targets {
        let Target::Server(address) = &target else { continue };
        let options = ConnectOptions { db: 0, resp3: false, ..options };
        // The command itself is the word of the user: it only ever puts back.
        let permit = |run_id: &str| ChangePermit::mint(Consent::Flag, run_id);
        let undone = runtime.block_on(undo(address, &options, &Journals::of_user(), permit))?;
        printer.data(&match args.output {
            Form::Human => render::undone(&target.to_string(), &undone),
            Form::Json => render::json(&undone)?,
        });
        if !undone.is_complete() {
            exit = Exit::RollBackFailed;
        }
    }
    Ok(exit)
}
