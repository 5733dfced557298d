//! Statements over many rows: a thousand gateways must not be a thousand round trips a flush.

use std::fmt::Write as _;

/// Rows of one statement at most. The SQLite driver asks for the name of each placeholder, and SQLite looks for it from the
/// first on: with more rows the questions cost more than the round trips that they save.
const ROWS: usize = 16;

/// Cuts items into runs for one statement each. Their lengths are powers of two: the text of a statement says how many rows it
/// has, and a connection keeps only some texts prepared.
pub fn runs<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = items.len().min(ROWS);
        let (run, rest) = items.split_at(1 << length.checked_ilog2()?);
        items = rest;
        Some(run)
    })
}

/// Placeholders of so many rows: `($1, $2), ($3, $4)`.
pub fn places(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            // writing to a String cannot fail
            let _ = write!(text, "{}${}", if column == 1 { "" } else { ", " }, row * columns + column);
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_powers_of_two_and_leave_nothing_out() {
        let items: Vec<u32> = (0..203).collect();
        let lengths: Vec<_> = runs(&items).map(<[u32]>::len).collect();
        assert_eq!(lengths, [[16; 12].as_slice(), &[8, 2, 1]].concat());
        assert_eq!(runs(&items).flatten().copied().collect::<Vec<_>>(), items);
        assert_eq!(runs::<u32>(&[]).count(), 0);
    }

    #[test]
    fn places_count_on() {
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
