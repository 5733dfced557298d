//! Listings: pages, prefixes, folding, order.

use store::objects::{Objects, PutOptions};

use crate::{
    cases::{Place, cases},
    fixture::{BUCKET, location},
};

cases![listings_page, listings_fold, the_older_listing_folds, keys_are_relative_to_the_prefix];

/// 25 keys in two folders, and one beside them; those in the folders, sorted.
async fn filled(place: &Place) -> Vec<String> {
    let mut keys: Vec<_> = (0..25).map(|n| format!("lake/kind={}/{n:03}", ["event", "sample"][n % 2])).collect();
    keys.push("other".into());
    for key in &keys {
        place.objects().put(key, &b"x"[..], PutOptions::default()).await.unwrap();
    }
    keys.pop();
    keys.sort();
    keys
}

async fn listings_page(place: Place) {
    let (sorted, sdk) = (filled(&place).await, place.sdk());
    let mut pages = sdk.list_objects_v2().bucket(BUCKET).prefix("lake/").max_keys(4).into_paginator().send();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 4);
        listed.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
    }
    assert_eq!(listed, sorted);
    let after = sdk.list_objects_v2().bucket(BUCKET).start_after(&sorted[22]).send().await.unwrap();
    assert_eq!(
        after.contents().iter().map(|o| o.key().unwrap()).collect::<Vec<_>>(),
        [&sorted[23], &sorted[24], "other"]
    );
    place.objects().delete_many(&sorted).await.unwrap();
    assert_eq!(place.objects().list("").all().await.unwrap().len(), 1);
    place.assert_bodies(1);
}

async fn listings_fold(place: Place) {
    filled(&place).await;
    let sdk = place.sdk();
    let folded = sdk.list_objects_v2().bucket(BUCKET).delimiter("/").prefix("lake/").send().await.unwrap();
    let prefixes: Vec<_> = folded.common_prefixes().iter().map(|p| p.prefix().unwrap()).collect();
    assert_eq!(prefixes, ["lake/kind=event/", "lake/kind=sample/"]);
    assert_eq!((folded.key_count(), folded.is_truncated()), (Some(2), Some(false)));
    let top = sdk.list_objects_v2().bucket(BUCKET).delimiter("/").send().await.unwrap();
    assert_eq!((top.common_prefixes()[0].prefix(), top.contents()[0].key()), (Some("lake/"), Some("other")));
}

/// One line a page.
async fn the_older_listing_folds(place: Place) {
    filled(&place).await;
    let sdk = place.sdk();
    let (mut marker, mut lines) = (String::new(), Vec::new());
    loop {
        let page = sdk.list_objects().bucket(BUCKET).delimiter("/").max_keys(1).marker(&marker).send().await.unwrap();
        lines.extend(page.common_prefixes().iter().map(|p| p.prefix().unwrap().to_owned()));
        lines.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
        match page.next_marker() {
            Some(next) => marker = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(lines, ["lake/", "other"]);
}

async fn keys_are_relative_to_the_prefix(place: Place) {
    filled(&place).await;
    let mut relative = location(place.port);
    relative.prefix = "lake/kind=event".into();
    let relative = Objects::connect(relative).unwrap();
    let listed = relative.list("00").all().await.unwrap();
    assert_eq!(listed[0].key, "000");
    assert_eq!(relative.get(&listed[1].key).await.unwrap().as_ref(), b"x");
    assert_eq!(relative.list("").start_after("020").all().await.unwrap()[0].key, "022");
}
