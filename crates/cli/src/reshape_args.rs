//! Arguments of `unfrag reshape`.

use crate::args::{Form, duration};
use crate::connect_args::ConnectArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;
use unfrag_act::reshape::snippet::Language;
use unfrag_act::reshape::{Codec, Shape, Wording};

#[derive(Debug, Args)]
pub(crate) struct ReshapeArgs {
    #[command(subcommand)]
    pub(crate) command: ReshapeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReshapeCommand {
    /// Keys become fields of hashes: user:7:name becomes field name of user:7.
    Hash(Box<HashArgs>),
    /// Values are compressed, in a form that the usual tools read.
    Compress(Box<CompressArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct HashArgs {
    /// The keys, as 'user:{id}:{field}'; a brace itself is written twice.
    #[arg(long = "match", value_name = "TEMPLATE")]
    pub(crate) keys: String,
    /// The hash of a key, as 'user:{id}', or 'users:{id/100}' for a hundred ids a hash.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) into: String,
    /// The field's name, if it should not be what --into leaves over of the key.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) field: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompressArgs {
    /// The keys, as SCAN's MATCH takes them: 'doc:*'.
    #[arg(long = "match", value_name = "GLOB")]
    pub(crate) keys: String,
    /// How: zlib (as Python's zlib.decompress reads), lz4 (frame), zstd (frame).
    #[arg(
        long,
        value_enum,
        default_value = "zlib",
        value_name = "CODEC",
        hide_possible_values = true
    )]
    pub(crate) codec: CodecName,
    /// Shorter values are left alone: bytes, or 4kb.
    #[arg(long, default_value = "1024", value_name = "BYTES", value_parser = size)]
    pub(crate) min_size: u64,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Do it. Without this: a dry run, which changes nothing and says what would be saved.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The way back: restore the layout from before.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Go on where a guard says no and may be overridden (the dry run says which and why).
    #[arg(long)]
    pub(crate) allow: bool,
    /// After the first pass, look again for keys written meanwhile, for so long: 10m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) follow: Option<Duration>,
    /// End after this; the same command goes on from there.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    pub(crate) max_duration: Duration,
    /// Latency that may be added at the 99th percentile: 5ms, 800us.
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = duration)]
    pub(crate) latency_budget: Duration,
    /// Print the application's side of it: redis-py, node-redis, go-redis, jedis, redis-rs, all.
    #[arg(long, value_name = "CLIENT", value_parser = snippets)]
    pub(crate) snippets: Option<Snippets>,
    /// Say everything: all that is skipped, and the application's side for every client.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Output: human, json.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "human",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecName {
    Zlib,
    Lz4,
    Zstd,
}

impl From<CodecName> for Codec {
    fn from(value: CodecName) -> Self {
        match value {
            CodecName::Zlib => Self::Zlib,
            CodecName::Lz4 => Self::Lz4,
            CodecName::Zstd => Self::Zstd,
        }
    }
}

/// For which clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippets(pub(crate) Vec<Language>);

fn snippets(text: &str) -> Result<Snippets, String> {
    if text == "all" {
        return Ok(Snippets(Language::ALL.to_vec()));
    }
    let named = Language::ALL.into_iter().find(|language| language.name() == text);
    named.map(|language| Snippets(vec![language])).ok_or_else(|| {
        let names = Language::ALL.map(Language::name).join(", ");
        format!("clients are: {names}, all")
    })
}

fn size(text: &str) -> Result<u64, String> {
    unfrag_model::config::parse_memory(text).ok_or_else(|| "write bytes, or 4kb, 1mb".to_owned())
}

impl ReshapeCommand {
    pub(crate) fn common(&self) -> &CommonArgs {
        match self {
            Self::Hash(args) => &args.common,
            Self::Compress(args) => &args.common,
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Hash(args) => Shape::Hash(Wording {
                keys: args.keys.clone(),
                into: args.into.clone(),
                field: args.field.clone(),
            }),
            Self::Compress(args) => Shape::Compress {
                keys: args.keys.clone(),
                codec: args.codec.into(),
                min_bytes: args.min_size,
            },
        }
    }
}
