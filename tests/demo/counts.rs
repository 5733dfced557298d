//! The three counts of predictions, and what to say when they differ.

use std::{collections::BTreeMap, fmt};

use crate::cameras::CAMERAS;

/// Predictions, counted in three places.
#[derive(Debug, Default)]
pub struct Counts {
    /// Made by the agent, by its own summary.
    pub classified: u64,
    /// Sent on the archive lane, by the agent's summary.
    pub published: u64,
    /// Rows in the lake's Parquet objects, by camera; none twice.
    pub archived: BTreeMap<String, u64>,
    /// Rows whose number stands twice.
    pub doubles: Vec<i64>,
    /// Numbers that are missing among the rows.
    pub holes: Vec<i64>,
}

impl Counts {
    /// What is wrong, in a sentence; `None` when the three agree and each camera is there.
    pub fn missing(&self) -> Option<String> {
        let archived: u64 = self.archived.values().sum();
        let silent: Vec<_> =
            CAMERAS.iter().map(|(camera, _)| *camera).filter(|c| !self.archived.contains_key(*c)).collect();
        let Self { classified, published, .. } = self;
        if published > classified {
            Some(format!("{published} predictions were sent, but only {classified} were made"))
        } else if published < classified {
            Some(format!("{} of {classified} predictions were not sent", classified - published))
        } else if archived > *published {
            Some(format!("the lake holds {archived} predictions, but only {published} were sent"))
        } else if archived < *published {
            let holes = first(&self.holes);
            Some(format!("the lake holds {archived} of {} sent predictions; missing numbers: {holes}", self.published))
        } else if !self.doubles.is_empty() {
            Some(format!("predictions stand twice in the lake: {}", first(&self.doubles)))
        } else if !silent.is_empty() {
            Some(format!("no prediction of camera {} is in the lake", silent.join(", ")))
        } else {
            None
        }
    }
}

fn first(numbers: &[i64]) -> String {
    let shown: Vec<_> = numbers.iter().take(10).map(i64::to_string).collect();
    let more = if numbers.len() > 10 { format!(" and {} more", numbers.len() - 10) } else { String::new() };
    if shown.is_empty() { "the last ones".into() } else { format!("{}{more}", shown.join(", ")) }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let archived: u64 = self.archived.values().sum();
        write!(f, "classified {}, published {}, archived {archived}", self.classified, self.published)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn counts(classified: u64, published: u64, each: u64) -> Counts {
        let archived = CAMERAS.iter().map(|(camera, _)| ((*camera).to_owned(), each)).collect();
        Counts { classified, published, archived, ..Counts::default() }
    }

    #[test]
    fn equal_counts_are_fine_and_everything_else_is_said() {
        assert_eq!(counts(9, 9, 3).missing(), None);
        assert_eq!(counts(9, 9, 3).to_string(), "classified 9, published 9, archived 9");
        assert!(counts(9, 8, 3).missing().unwrap().contains("1 of 9"));
        assert!(counts(9, 9, 2).missing().unwrap().contains("holds 6 of 9"));
        assert!(counts(8, 9, 3).missing().unwrap().contains("9 predictions were sent, but only 8"));
        assert!(counts(9, 9, 4).missing().unwrap().contains("holds 12 predictions, but only 9"));
        let mut silent = counts(6, 6, 3);
        silent.archived.remove("bikes");
        assert!(silent.missing().unwrap().contains("bikes"));
    }
}
