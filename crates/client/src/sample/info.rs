//! INFO: the one reading that a sample cannot do without.

use super::{Reader, SampleOptions};
use crate::error::{ClientError, Problem};
use crate::resp;
use redis::Value;
use unfrag_model::Info;

/// Reads `INFO everything` (with command, error and latency statistics and modules), or plain `INFO` where a server
/// knows only that.
pub(super) async fn read(
    reader: &mut Reader<'_>,
    options: &SampleOptions,
) -> Result<Info, ClientError> {
    let mut value = match ask(reader, &["INFO", "everything"]).await {
        Ok(value) => value,
        Err(error) if refuses_the_section(&error) => ask(reader, &["INFO"]).await?,
        Err(error) => return Err(error),
    };
    // Sentinels before 7.0 answer a section they do not know with nothing.
    if resp::text(&value).is_some_and(|text| text.is_empty()) {
        value = ask(reader, &["INFO"]).await?;
    }
    parse(reader, options, value)
}

/// Reads plain `INFO`: everything but statistics by command.
pub(super) async fn read_default(
    reader: &mut Reader<'_>,
    options: &SampleOptions,
) -> Result<Info, ClientError> {
    let value = ask(reader, &["INFO"]).await?;
    parse(reader, options, value)
}

fn parse(reader: &Reader<'_>, options: &SampleOptions, value: Value) -> Result<Info, ClientError> {
    let got = resp::kind(&value).to_owned();
    let info = resp::into_text(value).map(|text| Info::parse(&text)).unwrap_or_default();
    if info.is_empty() {
        let problem = Problem::UnexpectedReply { command: "INFO".to_owned(), got };
        return Err(ClientError::new(reader.connection.name(), problem));
    }
    if info.flag("loading") == Some(true) && !options.allow_loading {
        return Err(ClientError::new(reader.connection.name(), loading(&info)));
    }
    Ok(info)
}

async fn ask(reader: &mut Reader<'_>, words: &[&str]) -> Result<Value, ClientError> {
    let (result, cost) = reader.connection.read(words).await;
    reader.sample.commands.push(cost);
    result
}

/// Services that are not Redis code know few sections.
fn refuses_the_section(error: &ClientError) -> bool {
    matches!(*error.problem, Problem::Reply { .. } | Problem::UnknownCommand { .. })
}

fn loading(info: &Info) -> Problem {
    let percent = info.ratio("loading_loaded_perc").filter(|p| (0.0..=100.0).contains(p));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked")]
    let percent = percent.map(|p| p as u8);
    Problem::Loading { percent, seconds_left: info.count("loading_eta_seconds") }
}
