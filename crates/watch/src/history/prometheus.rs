//! Charts and trends read back from a store that speaks Prometheus' HTTP interface (Prometheus, Thanos, Mimir,
//! VictoriaMetrics), which scrapes our `/metrics`.
//!
//! So no history of figures is needed here, and several watches can share a fleet between them. Between two scrapes the
//! store knows nothing: a chart's points are samples, not means.

use super::query::Series;
use crate::http::{Headers, Http};
use crate::point::{Column, Point};
use hyper::HeaderMap;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Points of one answer, as for our own history.
const MAX_POINTS: i64 = 600;
/// Finer than any scrape.
const MIN_STEP_S: i64 = 10;

/// A store to read from.
#[derive(Debug, Clone)]
pub struct Prometheus {
    http: Http,
    base: String,
    headers: HeaderMap,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    metric: HashMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Prometheus {
    /// A store at `http://host:9090`, with a path where it has one, that is asked with these headers: `X-Scope-OrgID` names a
    /// tenant to Mimir, `Authorization` opens many a store.
    pub fn new(base: &str, headers: &Headers) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self { http: Http::new(), base, headers: headers.0.clone() }
    }

    /// A server from `from_s` to `until_s`.
    pub async fn series(&self, target: &str, from_s: i64, until_s: i64) -> Result<Series, String> {
        let step_s = ((until_s - from_s) / MAX_POINTS).max(MIN_STEP_S);
        let names = "unfrag_(layer_bytes|gap_bytes|up|keys|headroom_bytes|fork_in_progress|active_defrag_running|verdict)";
        let target = target.replace('\\', "\\\\").replace('"', "\\\"");
        let query = encoded(&format!("{{__name__=~\"{names}\",target=\"{target}\"}}"));
        let uri = format!(
            "{}/api/v1/query_range?query={query}&start={from_s}&end={until_s}&step={step_s}",
            self.base
        );
        let body = self.http.get(&uri, &self.headers).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| format!("its answer is not understood: {error}"))?;
        let means = points(&answer.data.result);
        Ok(Series { step_s, peaks: means.clone(), means })
    }
}

fn points(lines: &[Line]) -> Vec<Point> {
    let mut points: BTreeMap<i64, Point> = BTreeMap::new();
    for line in lines {
        let Some(column) = column(&line.metric) else { continue };
        for (at, value) in &line.values {
            let Some(value) = value.parse::<f64>().ok().filter(|v| v.abs() < 9e18) else {
                continue;
            };
            #[expect(clippy::cast_possible_truncation, reason = "seconds, and bytes below 2^63")]
            let (at_s, value) = (*at as i64, value as i64);
            points.entry(at_s).or_insert_with(|| Point::unknown(at_s)).set(column, Some(value));
        }
    }
    points.into_values().collect()
}

fn column(metric: &HashMap<String, String>) -> Option<Column> {
    let label = |name: &str| metric.get(name).map(String::as_str).unwrap_or_default();
    Some(match (label("__name__"), label("layer"), label("gap")) {
        ("unfrag_layer_bytes", "used", _) => Column::Used,
        ("unfrag_layer_bytes", "allocated", _) => Column::Allocated,
        ("unfrag_layer_bytes", "active", _) => Column::Active,
        ("unfrag_layer_bytes", "resident", _) => Column::Resident,
        ("unfrag_layer_bytes", "rss", _) => Column::Rss,
        ("unfrag_layer_bytes", "limit", _) => Column::Limit,
        ("unfrag_layer_bytes", "maxmemory", _) => Column::Maxmemory,
        ("unfrag_gap_bytes", _, "fragmentation") => Column::Fragmentation,
        ("unfrag_gap_bytes", _, "retained") => Column::Retained,
        ("unfrag_gap_bytes", _, "outside_allocator") => Column::Outside,
        ("unfrag_up", ..) => Column::Up,
        ("unfrag_verdict", ..) => Column::Verdict,
        ("unfrag_keys", ..) => Column::Keys,
        ("unfrag_headroom_bytes", ..) => Column::Headroom,
        ("unfrag_fork_in_progress", ..) => Column::Forking,
        ("unfrag_active_defrag_running", ..) => Column::Defragging,
        _ => return None,
    })
}

/// Percent-encoding for a query's value.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

    /// A store takes our headers for what they are, and nobody reads them in a log.
    #[tokio::test]
    async fn it_is_asked_with_the_headers_and_they_are_in_no_debug() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/prometheus/", listener.local_addr().unwrap());
        let store = std::thread::spawn(move || {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let body = "{\"data\":{\"result\":[]}}";
            write!(
                reader.get_mut(),
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            head
        });
        let said = [("X-Scope-OrgID", "cache"), ("Authorization", "Bearer canary")];
        let said: BTreeMap<String, String> =
            said.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let prometheus = Prometheus::new(&base, &Headers::try_from(said).unwrap());
        assert!(!format!("{prometheus:?}").contains("canary"));
        let series = prometheus.series("10.0.0.1:6379", 0, 3600).await.unwrap();
        assert!(series.means.is_empty());
        let head = store.join().unwrap();
        assert!(head.starts_with("GET /prometheus/api/v1/query_range?query="), "{head}");
        assert!(head.contains("x-scope-orgid: cache\r\n"), "{head}");
        assert!(head.contains("authorization: Bearer canary\r\n"), "{head}");
    }
}
