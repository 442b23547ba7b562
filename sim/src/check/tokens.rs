//! A token is good for one node: it goes in the transaction in which the node comes.

use super::Verdict;
use crate::store::Store;
use flocker_core::cluster::{Change, Key, Record};

pub(super) fn changes(store: &Store, changes: &[Change]) -> Verdict {
    let joins = changes
        .iter()
        .filter(|change| {
            matches!(change, Change::Put(Record::Node(node)) if store.get(&Key::Node(node.id)).is_none())
        })
        .filter_map(|change| match change {
            Change::Put(Record::Node(node)) => Some(node.id),
            _ => None,
        })
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let taken = changes
        .iter()
        .filter(|change| matches!(change, Change::Delete(Key::Token(_))))
        .count();
    if joins > taken {
        return Err("a node joined and its token can be used again".to_owned());
    }
    Ok(())
}
