//! Labels, on each database.

use contract::Timestamp;
use store::{
    labels::{Label, LabelQuery, Labels},
    tables::Tables,
};

use super::Databases;

fn label(frame: u64, class: &str, author: &str, at: i64) -> Label {
    Label {
        frame_id: format!("{:032x}_door_{frame}", 7).parse().unwrap(),
        region: "full".parse().unwrap(),
        class: class.into(),
        author: author.into(),
        source: "folder".into(),
        labelled_at: Timestamp(at),
    }
}

pub async fn all(databases: &Databases) {
    let tables = Tables::open(&databases.fresh("labels").await).await.unwrap();
    let labels = Labels::open(tables.clone()).await.unwrap();
    let many: Vec<Label> = (0..3000).map(|frame| label(frame, "open", "ada", 10)).collect();
    assert_eq!(labels.add(&many).await.unwrap(), 3000);
    assert_eq!(labels.add(&many).await.unwrap(), 0, "nothing new is said");
    // Another author, and the first once more with another class.
    assert_eq!(labels.add(&[label(1, "shut", "bob", 20), label(2, "shut", "ada", 30)]).await.unwrap(), 2);
    let now = labels.latest(&LabelQuery::default()).await.unwrap();
    let class = |frame: u64| now[&(label(frame, "", "", 0).frame_id, "full".parse().unwrap())].class.as_str();
    assert_eq!((now.len(), class(0), class(1), class(2)), (3000, "open", "shut", "shut"));
    let counts = labels.counts(&LabelQuery::default()).await.unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("open".into(), 2998), ("shut".into(), 2)]);
    let before = LabelQuery { until: Some(Timestamp(20)), ..LabelQuery::default() };
    assert_eq!(labels.counts(&before).await.unwrap()["open"], 3000);
    let of_bob = LabelQuery { author: Some("bob".into()), ..LabelQuery::default() };
    assert_eq!(labels.latest(&of_bob).await.unwrap().len(), 1);
    // Opened again it is the same.
    assert_eq!(Labels::open(tables).await.unwrap().latest(&of_bob).await.unwrap().len(), 1);
}
