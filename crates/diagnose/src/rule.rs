//! The registry of rules, and what running them means. To add a rule: copy a page under `rules/`, list it
//! in `rules.rs`, add its pair of tests.

use crate::figures::Figures;
use crate::rules::ALL;
use unfrag_model::Finding;

/// One rule: a page of `rules/`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Stable name of the problem.
    pub(crate) id: &'static str,
    /// Whether it can be the answer to "where did the memory go".
    pub(crate) kind: Kind,
    /// The rule's own source file; its head is the page.
    pub(crate) source: &'static str,
    /// The rule itself.
    pub(crate) check: fn(&Figures<'_>) -> Option<Finding>,
}

/// What a finding says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Something is wrong, here.
    Cause,
    /// Nothing is wrong, and this is why it looks as if it were.
    Explanation,
    /// Something may go wrong.
    Risk,
}

/// A finding with its rule's kind and place in the registry (lower is more specific).
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) finding: Finding,
    pub(crate) kind: Kind,
    pub(crate) rank: usize,
}

/// Every finding of every rule, in the registry's order.
pub(crate) fn run(figures: &Figures<'_>) -> Vec<Found> {
    let contradictory = ALL.first().is_some_and(|rule| (rule.check)(figures).is_some());
    ALL.iter()
        .enumerate()
        // Where figures contradict each other, nothing that is computed from them may be said.
        .filter(|(rank, rule)| !contradictory || *rank == 0 || rule.kind == Kind::Risk)
        .filter_map(|(rank, rule)| {
            let mut finding = (rule.check)(figures)?;
            finding.id = rule.id;
            Some(Found { finding, kind: rule.kind, rank })
        })
        .collect()
}

/// What `unfrag explain` prints for a rule.
#[derive(Debug, Clone)]
pub struct Page {
    /// The rule's id.
    pub id: &'static str,
    /// The page: markdown, fixed headings.
    pub text: String,
}

/// The pages of all rules, in the registry's order.
pub fn pages() -> Vec<Page> {
    let advisory = Page { id: "advisory", text: include_str!("advisory.md").to_owned() };
    ALL.iter()
        .map(|rule| Page { id: rule.id, text: page_text(rule.source) })
        .chain([advisory])
        .collect()
}

/// The `//!` head of a source file, without its marks.
fn page_text(source: &str) -> String {
    source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_its_own_id_and_a_whole_page() {
        let ids: BTreeSet<_> = ALL.iter().map(|r| r.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for page in pages() {
            for heading in
                ["What it detects", "Why it matters", "Evidence", "Remedy", "Safety", "References"]
            {
                assert!(page.text.contains(&format!("## {heading}")), "{}: no {heading}", page.id);
            }
        }
    }
}
