//! What distinguishes two datasets.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Dataset, Item};

/// Items by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In the second alone.
    pub added: Vec<String>,
    /// In the first alone.
    pub removed: Vec<String>,
    /// In both, with another class: the item, the class before, the class now.
    pub relabelled: Vec<(String, String, String)>,
    /// In both, in another split: the item, the split before, the split now.
    pub moved: Vec<(String, String, String)>,
    /// In both, the same.
    pub same: usize,
}

/// Compares by ids.
pub fn diff(before: &Dataset, after: &Dataset) -> Difference {
    let by_id = |dataset: &'_ Dataset| -> BTreeMap<String, Item> {
        dataset.items.iter().map(|item| (item.id.clone(), item.clone())).collect()
    };
    let (old, new) = (by_id(before), by_id(after));
    let class = |dataset: &Dataset, item: &Item| {
        dataset.manifest.classes.get(usize::from(item.class)).map(ToString::to_string).unwrap_or_default()
    };
    let mut difference = Difference::default();
    for (id, now) in &new {
        let Some(then) = old.get(id) else {
            difference.added.push(id.clone());
            continue;
        };
        let classes = (class(before, then), class(after, now));
        let moved = then.split != now.split;
        if classes.0 != classes.1 {
            difference.relabelled.push((id.clone(), classes.0.clone(), classes.1.clone()));
        }
        if moved {
            difference.moved.push((id.clone(), then.split.to_string(), now.split.to_string()));
        }
        difference.same += usize::from(classes.0 == classes.1 && !moved);
    }
    difference.removed = old.into_keys().filter(|id| !new.contains_key(id)).collect();
    difference
}
