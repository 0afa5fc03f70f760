//! `unfrag lab`: a disposable, really fragmented server until Ctrl-C.

use crate::args::LabArgs;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use anyhow::Context;
use std::path::PathBuf;
use unfrag_model::human;
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options};

pub(crate) fn run(args: &LabArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let workload = Workload::named(&args.workload).ok_or_else(|| UsageError {
        message: format!(
            "no workload is called '{}'; there are: {}",
            args.workload,
            names(Workload::ALL.map(Workload::name))
        ),
    })?;
    let (kind, options) = server(args)?;
    printer.talk(&format!(
        "starting {} and fragmenting it ({}); Ctrl-C ends it",
        args.server,
        workload.name()
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Ctrl-C while it fills must end the server, too: the lab is filled on a thread that is joined by the process's
    // end only, so the signal is caught from the start and the server is dropped on the way out.
    let fill_bytes = u64::from(args.fill) << 20;
    let lab = runtime.block_on(async {
        let fill =
            tokio::task::spawn_blocking(move || Lab::start(kind, &options, workload, fill_bytes));
        tokio::select! {
            lab = fill => Some(lab),
            () = ended() => None,
        }
    });
    let Some(lab) = lab else {
        runtime.shutdown_timeout(std::time::Duration::from_secs(120));
        return Ok(Exit::Fine);
    };
    let lab = lab.context("the lab ended unexpectedly")?.context("failed to start the lab")?;
    printer.data(&ready(&lab));
    runtime.block_on(ended());
    printer.talk("stopped, and its files are gone");
    Ok(Exit::Fine)
}

/// Ctrl-C, or a plain kill: the server must not outlive us.
async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without handlers there is nothing to wait for; the signal's own effect ends us.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

fn ready(lab: &Lab) -> String {
    let port = lab.server.port();
    format!(
        "ready: 127.0.0.1:{port}, process {}\n  {} keys, {} used, {} resident\n  try: unfrag check -p {port}\n",
        lab.server.pid(),
        crate::render::human::grouped(lab.keys),
        human(lab.used),
        human(lab.rss)
    )
}

/// One of the five, or any server binary by its path.
fn server(args: &LabArgs) -> anyhow::Result<(Kind, Options)> {
    if let Some(kind) = Kind::named(&args.server) {
        kind.binary()?;
        return Ok((kind, Options::default()));
    }
    let path = PathBuf::from(&args.server);
    if !path.is_file() {
        let message = format!(
            "no server is called '{}', and no file; there are: {}, or a path",
            args.server,
            names(Kind::ALL.map(Kind::name))
        );
        return Err(UsageError { message }.into());
    }
    // Started as the oldest of them: with no option a newer version introduced.
    Ok((Kind::Redis6, Options { binary: Some(path), ..Options::default() }))
}

fn names<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}
