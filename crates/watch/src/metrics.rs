//! `/metrics`: everything that is known now, for Prometheus. Nothing is asked of any server in a scrape.
//!
//! Names begin with `unfrag_`, units are bytes and seconds, and every label comes from a short list: servers that are
//! watched, levels, gaps, remedies, rules, size classes. No key, client or user name is ever a label.

mod family;
mod server;
mod watch;

use crate::fleet::Fleet;
use crate::node::{Node, View};
use crate::trend::Outlook;
use family::Page;
use std::sync::Arc;
use unfrag_model::Severity;

/// What one server looks like to a scrape.
struct Shown {
    /// `target="…"`, escaped.
    label: String,
    group: String,
    shard: String,
    view: Option<Arc<View>>,
    /// False when the last look failed.
    answers: bool,
    looks: [u64; 2],
    outlook: Outlook,
    /// Alerts that stand: rule and severity.
    alerts: Vec<(String, Severity)>,
}

impl Shown {
    fn new(node: &Node) -> Self {
        let state = node.state();
        Self {
            label: format!("target=\"{}\"", family::escaped(&node.name)),
            group: node.group.clone(),
            shard: state.primary.clone().unwrap_or_else(|| node.name.clone()),
            view: state.view.clone(),
            answers: state.failure.is_none(),
            looks: state.looks,
            outlook: state.outlook.clone(),
            alerts: state.alerts.iter().map(|a| (a.id.clone(), a.severity)).collect(),
        }
    }

    /// The reading, unless the server has stopped answering: old figures are not shown as new ones.
    fn fresh(&self) -> Option<&View> {
        self.view.as_deref().filter(|_| self.answers)
    }
}

/// The page for the whole fleet.
pub fn render(fleet: &Fleet) -> String {
    let nodes = fleet.nodes();
    let shown: Vec<Shown> = nodes.iter().map(|n| Shown::new(n)).collect();
    let mut page = Page::with_capacity(shown.len() * 6000 + 8192);
    server::write(&mut page, &shown);
    watch::write(&mut page, fleet, &shown);
    page.into_text()
}

/// The page for one server as it was just seen (`None`: it does not answer), without the watch's own figures.
pub fn render_one(node: &Node, view: Option<View>) -> String {
    let mut page = Page::with_capacity(8192);
    let shown = Shown { answers: view.is_some(), view: view.map(Arc::new), ..Shown::new(node) };
    server::write(&mut page, &[shown]);
    page.into_text()
}
