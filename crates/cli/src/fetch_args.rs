//! Arguments of `unfrag rdb fetch`.

use crate::connect_args::ConnectArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Where to write it; a folder where several servers are meant (one file each), `-` for standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What is said of it: human, json.
    #[arg(
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) report: ReportForm,
    /// Fetch although the server's fork or this disk may run out of room, and replace a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportForm {
    Human,
    Json,
}
