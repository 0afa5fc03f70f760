//! Trees of made-up keys: what is learnt, and that it is bounded.

use unfrag_rdb::format::ValueType;
use unfrag_rdb::reader::Key;
use unfrag_rdb::size::KeySize;

use super::*;
use crate::shape::{self, Shape};
use crate::time::TtlBucket;

fn add(tree: &mut Tree, key: &str) {
    let mut shape = Shape::default();
    shape.of(key.as_bytes());
    let place = tree.surely(|| shape.parts());
    let key = Key {
        offset: 0,
        type_offset: 0,
        kind: ValueType::String,
        db: None,
        name: key.as_bytes(),
        expires_ms: None,
        idle_s: None,
        frequency: None,
        meta_classes: 0,
    };
    let sized = KeySize {
        key,
        bytes: 64,
        encoding: "raw",
        elements: 1,
        longest: 0,
        packed_bytes: None,
        packs_to_intset: false,
    };
    tree.at(place).unwrap().add(&sized, TtlBucket::None);
}

fn patterns(tree: &Tree) -> Vec<(String, u64)> {
    fn walk(tree: &Tree, node: NodeId, path: &str, found: &mut Vec<(String, u64)>) {
        let path = format!("{path}{}", shape::text(&tree.node(node).unwrap().label));
        if let Some(stats) = tree.stats(node) {
            found.push((path.clone(), stats.keys));
        }
        tree.children(node).into_iter().for_each(|child| walk(tree, child, &path, found));
    }
    let mut found = vec![];
    walk(tree, ROOT, "", &mut found);
    found.sort_by_key(|(name, keys)| (std::cmp::Reverse(*keys), name.clone()));
    found
}

/// Words as people have names, none twice.
fn name(number: u64) -> String {
    let letters = |n: u64| char::from(b'a' + u8::try_from(n % 26).unwrap());
    (0..6)
        .map(|place| letters(number / 26_u64.pow(place) + number * 7 * u64::from(place)))
        .collect()
}

#[test]
fn rare_words_are_names_and_frequent_ones_stay() {
    let mut tree = Tree::default();
    for number in 0..5000 {
        add(&mut tree, &format!("profile:{}:seen", name(number)));
        if number % 10 == 0 {
            add(&mut tree, "profile:admin:seen");
        }
    }
    let found = patterns(&tree);
    assert_eq!(found[0].0, "profile:{name}:seen");
    assert_eq!(found.iter().map(|(_, keys)| keys).sum::<u64>(), 5500);
    assert!(found.contains(&("profile:admin:seen".to_owned(), 500)), "{found:?}");
    assert!(found.len() < 4, "{found:?}");
}

#[test]
fn words_that_begin_alike_keep_their_beginning() {
    let mut tree = Tree::default();
    for number in 0..3000 {
        add(&mut tree, &format!("sess_{}", name(number)));
        add(&mut tree, &format!("order:{number}"));
    }
    assert_eq!(
        patterns(&tree),
        [("order:{id}".to_owned(), 3000), ("sess_{name}".to_owned(), 3000)]
    );
}

#[test]
fn names_seen_once_each_are_names_even_if_few() {
    let mut tree = Tree::default();
    for number in 0..20 {
        add(&mut tree, &format!("avatar:{}", name(number)));
    }
    assert_eq!(patterns(&tree).len(), 20);
    tree.tidy();
    assert_eq!(patterns(&tree), [("avatar:{name}".to_owned(), 20)]);
}

#[test]
fn joining_halves_gives_the_whole() {
    let keys: Vec<String> = (0..4000)
        .map(|n| {
            format!("a:{}:{}", name(n * 31 % 900), ["x", "y", "z"][usize::try_from(n % 3).unwrap()])
        })
        .collect();
    let mut whole = Tree::default();
    for key in &keys {
        add(&mut whole, key);
    }
    let (mut left, mut right) = (Tree::default(), Tree::default());
    for key in &keys[..100] {
        add(&mut left, key);
    }
    for key in &keys[100..] {
        add(&mut right, key);
    }
    left.join(right);
    left.tidy();
    whole.tidy();
    assert_eq!(patterns(&left), patterns(&whole));
}

#[test]
fn digests_of_digits_only_are_digests() {
    let mut tree = Tree::default();
    for number in 0_u32..4000 {
        add(&mut tree, &format!("blob:{:08x}", number.wrapping_mul(2_654_435_761)));
    }
    tree.tidy();
    assert_eq!(patterns(&tree), [("blob:{hash}".to_owned(), 4000)]);
}

#[test]
fn forms_without_end_are_bounded_and_none_is_lost() {
    let mut tree = Tree::default();
    let cuts = [':', '/', '.', '|', ',', '='];
    let mut state = 1_u64;
    for _ in 0..60_000 {
        let mut key = String::new();
        for place in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            key += &name(state >> 40);
            key.push(cuts[usize::try_from((state >> 33) % 6).unwrap()]);
            if (state >> 20) % 8 == place {
                break;
            }
        }
        add(&mut tree, &key);
    }
    assert!(tree.nodes.len() <= NODES_MAX + 100, "{}", tree.nodes.len());
    assert!(tree.is_folded_for_room());
    assert_eq!(patterns(&tree).iter().map(|(_, keys)| keys).sum::<u64>(), 60_000);
}
