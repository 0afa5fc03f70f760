//! `unfrag top`: the servers named, live, in this terminal.

use super::watch::Named;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use crate::watch_args::TopArgs;
use anyhow::Context;
use std::io::IsTerminal;
use std::time::Duration;
use unfrag_watch::config::{Config, Time};
use unfrag_watch::fleet::Settings;
use unfrag_watch::top;

/// More often than this, looking is what the servers do.
const FASTEST: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &TopArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let interval = Time::try_from(args.interval.clone())
        .map_err(|why| UsageError { message: format!("--interval: {why}") })?;
    if !std::io::stdout().is_terminal() {
        let message =
            "top needs a terminal; `unfrag check` prints once, `unfrag watch` serves a page";
        return Err(UsageError { message: message.to_owned() }.into());
    }
    let base = args.connect.options()?;
    let seeds =
        Named::new(&args.connect)?.seeds(&Config::default(), &base, args.connect.replicas)?;
    let mut settings = Settings::default();
    settings.cadence.interval = interval.0.max(FASTEST);
    // Somebody looks at it: bins and settings are read anew every minute.
    settings.cadence.deep = Duration::from_secs(60);
    top::run(seeds, settings, printer.paint().color).context("failed to use the terminal")?;
    Ok(Exit::Fine)
}
