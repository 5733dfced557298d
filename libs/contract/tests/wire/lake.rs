//! The lake's columns: names, order and types are a wire form too.

use contract::{Kind, lake};

use crate::golden::check_bytes;

#[test]
fn columns_keep_their_names_order_and_types() {
    let mut text = format!("# row schemas, version {}: kind, column, type, whether null is allowed\n", lake::VERSION);
    for kind in Kind::ALL {
        for column in lake::columns(kind) {
            let null = if column.nullable { "null" } else { "required" };
            text += &format!("{kind} {} {:?} {null}\n", column.name, column.ty);
        }
    }
    check_bytes("lake-columns.txt", text.as_bytes());
}

#[test]
fn no_column_stands_twice_in_a_table() {
    for kind in Kind::ALL {
        let mut names: Vec<_> = lake::columns(kind).map(|c| c.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{kind}");
        assert!(lake::columns(kind).all(|c| !c.doc.is_empty()));
    }
}
