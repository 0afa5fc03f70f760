//! Prints the sample of each target given: `cargo run -p unfrag-client --example sample -- 127.0.0.1:6379`.
//!
//! For looking at what the crate reads; `unfrag check` is the tool for people.

#![expect(clippy::print_stdout, reason = "an example prints")]

use unfrag_client::{ConnectOptions, SampleOptions, Target, Uri, connect, sample};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for text in std::env::args().skip(1) {
        match read(&text).await {
            Ok(text) | Err(text) => println!("{text}"),
        }
    }
}

async fn read(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|e| format!("{e}"))?;
    let options = ConnectOptions::default().with_uri(&uri);
    let Target::Server(address) = &uri.target else { return Err("a Sentinel name".to_owned()) };
    let told = |e: unfrag_client::ClientError| format!("{e}\nhint: {}", e.hint().unwrap_or("-"));
    let mut connection = connect(address, &options).await.map_err(told)?;
    let sample = sample(&mut connection, &SampleOptions::default()).await.map_err(told)?;
    let mut lines = vec![format!("{}: {}", sample.target, sample.info.engine())];
    lines.push(format!(
        "  INFO {} fields, MEMORY STATS {}, MALLOC-STATS {}, config {}, clients {:?}",
        sample.info.len(),
        sample.memory_stats.is_some(),
        sample.malloc_stats.is_some(),
        sample.config.pairs().count(),
        sample.clients.as_ref().map(|c| c.clients),
    ));
    lines.push(format!("  host {:?}", sample.host));
    lines.extend(sample.unread.iter().map(|u| format!("  unread {}: {}", u.what, u.why)));
    lines.extend(sample.commands.iter().map(|c| {
        format!(
            "  {}: server {:?} us, round trip {} us, {} bytes",
            c.command, c.server_us, c.round_trip_us, c.reply_bytes
        )
    }));
    Ok(lines.join("\n"))
}
