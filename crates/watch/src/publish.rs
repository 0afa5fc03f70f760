//! What other tools are given: alert rules for Prometheus ([`rules`]), a dashboard for Grafana ([`dashboard`]), a unit for
//! systemd ([`unit()`]).

use serde_json::{Value, json};

/// Alert rules, as YAML.
pub fn rules() -> &'static str {
    include_str!("assets/rules.yml")
}

/// A unit for systemd.
pub fn unit() -> &'static str {
    include_str!("assets/unfrag-watch.service")
}

/// One chart: title, unit, and its lines as `(legend, query)`.
struct Chart {
    title: &'static str,
    unit: &'static str,
    stacked: bool,
    lines: &'static [(&'static str, &'static str)],
}

const SERVER: [Chart; 8] = [
    Chart {
        title: "The ladder",
        unit: "bytes",
        stacked: true,
        lines: &[
            ("used", "max by (target) (unfrag_layer_bytes{target=~\"$target\",layer=\"used\"})"),
            ("{{gap}}", "unfrag_gap_bytes{target=~\"$target\"}"),
        ],
    },
    Chart {
        title: "What would come back",
        unit: "bytes",
        stacked: false,
        lines: &[("{{remedy}}", "unfrag_reclaimable_bytes{target=~\"$target\"}")],
    },
    Chart {
        title: "Headroom",
        unit: "bytes",
        stacked: false,
        lines: &[
            ("headroom", "unfrag_headroom_bytes{target=~\"$target\"}"),
            ("copied by the last fork", "unfrag_cow_bytes{target=~\"$target\"}"),
        ],
    },
    Chart {
        title: "Time until the limit",
        unit: "s",
        stacked: false,
        lines: &[("{{bound}}", "unfrag_time_to_limit_seconds{target=~\"$target\"}")],
    },
    Chart {
        title: "Waste by size class",
        unit: "bytes",
        stacked: true,
        lines: &[("{{bin}} B", "topk(12, unfrag_bin_waste_bytes{target=~\"$target\"})")],
    },
    Chart {
        title: "Findings",
        unit: "bytes",
        stacked: false,
        lines: &[("{{finding}} ({{severity}})", "unfrag_finding_bytes{target=~\"$target\"}")],
    },
    Chart {
        title: "Active defrag: share of time",
        unit: "percentunit",
        stacked: false,
        lines: &[("defrag", "rate(unfrag_active_defrag_seconds_total{target=~\"$target\"}[5m])")],
    },
    Chart {
        title: "Buffers, scripts, swap",
        unit: "bytes",
        stacked: false,
        lines: &[
            ("buffers", "unfrag_buffers_bytes{target=~\"$target\"}"),
            ("scripts", "unfrag_scripts_bytes{target=~\"$target\"}"),
            ("in swap", "unfrag_swapped_bytes{target=~\"$target\"}"),
        ],
    },
];

const FLEET: [(&str, &str, &str); 5] = [
    ("Servers", "short", "count(unfrag_up)"),
    ("No answer", "short", "count(unfrag_up == 0) or vector(0)"),
    ("To act on", "short", "count(unfrag_verdict >= 2) or vector(0)"),
    ("Could come back", "bytes", "sum(max by (target) (unfrag_reclaimable_bytes))"),
    ("Least headroom", "bytes", "min(unfrag_headroom_bytes)"),
];

/// A dashboard for Grafana, as JSON.
pub fn dashboard() -> Value {
    let source = json!({ "type": "prometheus", "uid": "${source}" });
    let mut panels = vec![];
    for (n, (title, unit, query)) in FLEET.iter().enumerate() {
        panels.push(json!({
            "id": n + 1, "type": "stat", "title": title, "datasource": source,
            "gridPos": { "h": 4, "w": if n == 4 { 8 } else { 4 }, "x": n * 4, "y": 0 },
            "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
            "targets": [{ "refId": "A", "expr": query, "instant": true }],
        }));
    }
    for (n, chart) in SERVER.iter().enumerate() {
        let targets: Vec<Value> = chart
            .lines
            .iter()
            .zip(["A", "B", "C", "D"])
            .map(|((legend, query), id)| json!({ "refId": id, "expr": query, "legendFormat": legend }))
            .collect();
        let stacking = if chart.stacked { "normal" } else { "none" };
        panels.push(json!({
            "id": n + 10, "type": "timeseries", "title": chart.title, "datasource": source,
            "gridPos": { "h": 9, "w": 12, "x": n % 2 * 12, "y": 4 + n / 2 * 9 },
            "fieldConfig": {
                "defaults": {
                    "unit": chart.unit, "min": 0,
                    "custom": { "fillOpacity": if chart.stacked { 60 } else { 10 }, "stacking": { "mode": stacking } },
                },
                "overrides": [],
            },
            "targets": targets,
        }));
    }
    json!({
        "title": "unfrag: Redis and Valkey memory", "uid": "unfrag", "schemaVersion": 39, "version": 1,
        "refresh": "30s", "time": { "from": "now-6h", "to": "now" }, "tags": ["redis", "valkey", "memory"],
        "templating": { "list": [
            { "name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus" },
            { "name": "target", "type": "query", "label": "Server", "datasource": source, "refresh": 2,
              "query": "label_values(unfrag_up, target)" },
        ] },
        "panels": panels,
    })
}

/// Every query of the dashboard, for checks; the variable stands for everything.
pub fn queries() -> Vec<String> {
    let charts = SERVER.iter().flat_map(|c| c.lines.iter().map(|(_, query)| *query));
    let all = charts.chain(FLEET.iter().map(|(_, _, query)| *query));
    all.map(|query| query.replace("$target", ".*")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that the metrics page writes.
    fn written() -> Vec<&'static str> {
        let sources = [include_str!("metrics/server.rs"), include_str!("metrics/watch.rs")];
        sources.iter().flat_map(|s| s.split('"')).filter(|w| w.starts_with("unfrag_")).collect()
    }

    #[test]
    fn rules_and_dashboard_ask_only_for_what_is_written() {
        let written = written();
        let text = rules().to_owned() + &queries().join("\n");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut asked = 0;
        // One rule asks for two names by a pattern.
        let text = text.replace(
            "unfrag_time_to_(limit|maxmemory)_seconds",
            "unfrag_time_to_maxmemory_seconds",
        );
        for word in text.split(|c: char| !is_name(c)).filter(|w| w.starts_with("unfrag_")) {
            assert!(written.contains(&word), "{word}");
            asked += 1;
        }
        assert!(asked > 20);
    }
}
