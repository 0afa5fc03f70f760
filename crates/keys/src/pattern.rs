//! Patterns as reports name them: the leaves of the tree, and the tree itself with long stems joined. Read
//! [`Pattern`] first.

use serde::Serialize;

use crate::shape::{self, Placeholder};
use crate::stats::Stats;
use crate::tree::{NodeId, ROOT, Tree};

/// Keys of one shape, with what was learnt of them.
#[derive(Debug, Clone)]
pub struct Pattern<'t> {
    /// As reports write it: `user:{id}:cart`.
    pub text: String,
    /// The same with placeholders as bytes.
    pub shape: Vec<u8>,
    /// Its parts.
    pub parts: Vec<&'t [u8]>,
    /// Sums.
    pub stats: &'t Stats,
}

impl Pattern<'_> {
    /// What the last part stands for, if it is one placeholder.
    pub fn last_placeholder(&self) -> Option<Placeholder> {
        match self.parts.last() {
            Some([byte]) => Placeholder::from_byte(*byte),
            _ => None,
        }
    }

    /// True if Redis Cluster hashes only a part of these keys.
    pub fn has_hash_tag(&self) -> bool {
        let open = self.shape.iter().position(|&b| b == b'{');
        let tag = open.and_then(|at| self.shape.get(at + 1..));
        tag.and_then(|rest| rest.iter().position(|&b| b == b'}')).is_some_and(|length| length > 0)
    }
}

/// A stem that patterns share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// What it adds to the stem above it.
    pub label: String,
    /// The whole of it.
    pub pattern: String,
    /// Keys of all patterns below, and its own.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Longer stems, the largest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}

/// All patterns, the largest first.
pub fn all(tree: &Tree) -> Vec<Pattern<'_>> {
    let mut found = Vec::new();
    collect(tree, ROOT, &mut Vec::new(), &mut found);
    found.sort_by(|a, b| b.stats.bytes.cmp(&a.stats.bytes).then_with(|| a.text.cmp(&b.text)));
    found
}

fn collect<'t>(
    tree: &'t Tree,
    node: NodeId,
    path: &mut Vec<&'t [u8]>,
    found: &mut Vec<Pattern<'t>>,
) {
    if let Some(stats) = tree.stats(node).filter(|s| s.keys > 0) {
        let shape = path.concat();
        found.push(Pattern { text: text(path), shape, parts: path.clone(), stats });
    }
    for child in tree.children(node) {
        let Some(child_node) = tree.node(child) else { continue };
        path.push(&child_node.label);
        collect(tree, child, path, found);
        path.pop();
    }
}

/// The parts as people read them: a name that ends a key after something that varies is a field.
fn text(parts: &[&[u8]]) -> String {
    let mut text = String::new();
    for (place, part) in parts.iter().enumerate() {
        let is_field = *part == [Placeholder::Name.byte()]
            && place + 1 == parts.len()
            && place.checked_sub(1).and_then(|p| parts.get(p)).is_some_and(|before| varies(before));
        text.push_str(&if is_field { "{field}".to_owned() } else { shape::text(part) });
    }
    text
}

pub(crate) fn varies(part: &[u8]) -> bool {
    part.iter().any(|&byte| Placeholder::from_byte(byte).is_some())
}

/// The tree of all patterns.
pub fn tree(tree: &Tree) -> Branch {
    branch(tree, ROOT, &mut Vec::new(), String::new())
}

fn branch<'t>(tree: &'t Tree, node: NodeId, path: &mut Vec<&'t [u8]>, label: String) -> Branch {
    let stats = tree.stats(node);
    let (mut keys, mut bytes) = stats.map_or((0, 0), |s| (s.keys, s.bytes));
    let mut children = Vec::new();
    for child in tree.children(node) {
        let Some(child_node) = tree.node(child) else { continue };
        path.push(&child_node.label);
        let whole = text(path);
        let above = path.get(..path.len() - 1).map_or(0, |p| text(p).len());
        let label = whole.get(above..).unwrap_or(&whole).to_owned();
        let child = branch(tree, child, path, label);
        path.pop();
        keys += child.keys;
        bytes += child.bytes;
        if child.keys > 0 {
            children.push(child);
        }
    }
    children.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.label.cmp(&b.label)));
    let has_own = stats.is_some_and(|s| s.keys > 0);
    // A stem with one way on is no branch. The root stays: it stands for everything.
    if children.len() == 1
        && !has_own
        && !path.is_empty()
        && let Some(only) = children.pop()
    {
        return Branch { label: label + &only.label, ..only };
    }
    Branch { label, pattern: text(path), keys, bytes, children }
}
