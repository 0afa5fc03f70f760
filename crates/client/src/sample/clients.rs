//! CLIENT LIST, summed: who holds memory in buffers. Bounded, because the server builds one line a client at once.

use super::Reader;
use crate::connect::CLIENT_NAME;
use crate::error::one_line;
use crate::host::Ends;
use crate::resp;
use unfrag_model::sample::{ClientLine, ClientMemory};

const WHAT: &str = "CLIENT LIST";

/// With more clients than this the list is not asked for. A line takes the server about 1 to 2 microseconds and 400
/// bytes: a thousand cost it a millisecond or two, ten thousand would cost every other client a 20 ms stall.
pub const MAX_CLIENTS_LISTED: u64 = 1000;
/// How many of the biggest are kept.
const BIGGEST: usize = 5;

pub(super) async fn read(reader: &mut Reader<'_>) {
    match reader.sample.info.count("connected_clients") {
        Some(clients) if clients <= MAX_CLIENTS_LISTED => {}
        Some(clients) => {
            let why = format!(
                "{clients} clients are connected; listing more than {MAX_CLIENTS_LISTED} would hold up the server"
            );
            reader.unread(WHAT, why);
            return read_own(reader).await;
        }
        None => return reader.unread(WHAT, "INFO does not tell how many clients there are"),
    }
    let Some(value) = reader.ask(WHAT, &["CLIENT", "LIST"]).await else { return };
    let kind = resp::kind(&value);
    match resp::into_text(value) {
        Some(text) => {
            reader.ends = own_ends(&text);
            reader.sample.clients = Some(parse(&text));
        }
        None => reader.unread(WHAT, format!("the answer was {kind}")),
    }
}

/// Our own line alone costs the server nothing. Told since 6.2; it is missed only where the server is in a container.
async fn read_own(reader: &mut Reader<'_>) {
    if !reader.connection.is_local() {
        return;
    }
    if let Ok(value) = reader.ask_or_tell("CLIENT INFO", &["CLIENT", "INFO"]).await {
        reader.ends = own_ends(&resp::into_text(value).unwrap_or_default());
    }
}

/// Where our connections begin and end, as the server sees them; none of a unix socket.
fn own_ends(text: &str) -> Vec<Ends> {
    let ours = text.lines().filter_map(Client::parse).filter(Client::is_ours);
    let ends = ours.filter_map(|client| {
        let server = client.text("laddr").and_then(|address| address.parse().ok());
        Some(Ends { client: client.text("addr")?.parse().ok()?, server })
    });
    ends.collect()
}

/// Sums the lines of CLIENT LIST.
pub(crate) fn parse(text: &str) -> ClientMemory {
    let mut sum = ClientMemory::default();
    for line in text.lines() {
        let Some(client) = Client::parse(line) else { continue };
        client.add_to(&mut sum);
        if !client.is_ours() {
            sum.biggest.push(client.line());
        }
    }
    sum.biggest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.id.cmp(&b.id)));
    sum.biggest.truncate(BIGGEST);
    sum
}

/// One line, by field name: every version added fields.
struct Client<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Client<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let client = Self(line.split(' ').filter_map(|field| field.split_once('=')).collect());
        client.number("id").map(|_| client)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn has_flag(&self, flag: char) -> bool {
        self.text("flags").is_some_and(|flags| flags.contains(flag))
    }

    fn query_buffer(&self) -> u64 {
        self.number("qbuf").unwrap_or(0).saturating_add(self.number("qbuf-free").unwrap_or(0))
    }

    fn add_to(&self, sum: &mut ClientMemory) {
        sum.clients += 1;
        sum.query_buffers = sum.query_buffers.saturating_add(self.query_buffer());
        sum.output_buffers = sum.output_buffers.saturating_add(self.number("omem").unwrap_or(0));
        if let Some(total) = self.number("tot-mem") {
            sum.total = Some(sum.total.unwrap_or(0).saturating_add(total));
        }
        sum.pubsub += u64::from(self.has_flag('P'));
        sum.monitors += u64::from(self.has_flag('O'));
        sum.tracking += u64::from(self.has_flag('t'));
        let in_multi = self.text("multi").is_some_and(|n| n != "-1");
        let watches = self.number("watch").is_some_and(|n| n > 0);
        sum.transactions += u64::from(in_multi || watches || self.has_flag('x'));
    }

    fn kind(&self) -> &'static str {
        match () {
            () if self.has_flag('O') => "monitor",
            () if self.has_flag('S') => "replica",
            () if self.has_flag('M') => "primary",
            () if self.has_flag('P') => "pubsub",
            () => "normal",
        }
    }

    /// The connection that lists the others is no news.
    fn is_ours(&self) -> bool {
        self.text("name") == Some(CLIENT_NAME)
            && self.text("cmd").is_some_and(|command| command.starts_with("client"))
    }

    fn line(&self) -> ClientLine {
        let own = || self.query_buffer().saturating_add(self.number("omem").unwrap_or(0));
        ClientLine {
            id: self.number("id").unwrap_or(0),
            address: one_line(self.text("addr").unwrap_or("")),
            name: one_line(self.text("name").unwrap_or("")),
            kind: self.kind().to_owned(),
            command: one_line(self.text("cmd").unwrap_or("")),
            bytes: self.number("tot-mem").unwrap_or_else(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted() {
        // Lines of Redis 7.0 and, last, 6.0 (no tot-mem).
        let text = "id=3 addr=127.0.0.1:1 laddr=x name=unfrag age=1 flags=N db=0 multi=-1 qbuf=26 qbuf-free=100 omem=0 tot-mem=22298 cmd=client|list user=default\n\
            id=4 addr=127.0.0.1:2 name=jobs flags=P sub=1 multi=-1 qbuf=0 qbuf-free=0 omem=5000 tot-mem=7000 cmd=subscribe\n\
            id=5 addr=127.0.0.1:3 name= flags=O multi=-1 qbuf=0 qbuf-free=0 omem=90 tot-mem=99 cmd=monitor\n\
            id=6 addr=127.0.0.1:4 name= flags=S multi=-1 qbuf=0 qbuf-free=0 omem=1 tot-mem=10 cmd=replconf\n\
            id=7 addr=127.0.0.1:5 name= flags=xt multi=2 qbuf=10 qbuf-free=20 omem=3 cmd=set\n\
            rubbish\n";
        let got = parse(text);
        assert_eq!(
            (got.clients, got.pubsub, got.monitors, got.tracking, got.transactions),
            (5, 1, 1, 1, 1)
        );
        assert_eq!((got.query_buffers, got.output_buffers), (156, 5094));
        assert_eq!(got.total, Some(22_298 + 7000 + 99 + 10));
        let biggest: Vec<_> =
            got.biggest.iter().map(|c| (c.id, c.kind.as_str(), c.bytes)).collect();
        assert_eq!(
            biggest,
            [(4, "pubsub", 7000), (5, "monitor", 99), (7, "normal", 33), (6, "replica", 10)]
        );
    }
}
