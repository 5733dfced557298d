//! Texts that come again and again, kept once: a reader of a thousand records finds the same site, camera and labels in
//! each, and an allocation for each of them is what reading costs most.
//!
//! Bounded: a table of [`SLOTS`] places, each for whatever came last of all that belongs there. What is pushed out is made
//! again the next time; nothing else changes.

use std::sync::Arc;

use crate::{CameraId, GatewayId, RegionId, SiteId, id::is_name};

const SLOTS: usize = 4096;

/// The texts. Ids and other texts are kept apart: what lies among the ids has been checked.
pub struct Names {
    ids: Table,
    texts: Table,
}

impl Default for Names {
    fn default() -> Self {
        Self { ids: Table::new(), texts: Table::new() }
    }
}

impl Names {
    /// Any text.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.get(text, |_| true).unwrap_or_else(|| text.into())
    }

    /// A site's id; `None` where the text is no id.
    pub fn site(&mut self, text: &str) -> Option<SiteId> {
        self.ids.get(text, is_name).map(SiteId::of_name)
    }

    /// A gateway's id.
    pub fn gateway(&mut self, text: &str) -> Option<GatewayId> {
        self.ids.get(text, is_name).map(GatewayId::of_name)
    }

    /// A camera's id.
    pub fn camera(&mut self, text: &str) -> Option<CameraId> {
        self.ids.get(text, is_name).map(CameraId::of_name)
    }

    /// A region's id.
    pub fn region(&mut self, text: &str) -> Option<RegionId> {
        self.ids.get(text, is_name).map(RegionId::of_name)
    }
}

struct Table(Vec<Option<Arc<str>>>);

impl Table {
    fn new() -> Self {
        Self(vec![None; SLOTS])
    }

    fn get(&mut self, text: &str, is_valid: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let slot = &mut self.0[place(text.as_bytes())];
        if let Some(kept) = slot.as_ref().filter(|kept| ***kept == *text) {
            return Some(kept.clone());
        }
        is_valid(text).then(|| slot.insert(text.into()).clone())
    }
}

/// Where a text belongs: its ends and its length, well mixed (the multiplier is 2^64 over the golden ratio). Two that meet
/// push each other out, which costs time and nothing else.
fn place(text: &[u8]) -> usize {
    let word = |part: &[u8]| part.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let (first, last) = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (word(text), 0),
    };
    let mixed = (first ^ last.rotate_left(29)).wrapping_add(text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_kept_once_and_what_is_no_id_is_none() {
        let mut names = Names::default();
        for n in 0..20_000 {
            let text = format!("gw-{n}");
            assert_eq!(names.gateway(&text).unwrap().as_str(), text);
            assert_eq!(&*names.text(&text), text);
        }
        let (first, second) = (names.text("crate"), names.text("crate"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(names.text("a/b").len(), 3);
        for bad in ["", "-a", "A", "a/b", "ä"] {
            assert_eq!(names.site(bad), None, "{bad}");
        }
    }
}
