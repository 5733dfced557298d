//! Keeps the directory up to date from the live lane, and announces live records where ingest runs elsewhere.

use std::time::{Duration, SystemTime};

use contract::{Event, Prediction, Timestamp, Topic, live::Live};
use daemon::tasks::{Kind, Tasks};
use link::{Events, Session};

use crate::{
    api::{Feed, Notice},
    directory::Directory,
    upkeep::Watch,
};

/// The task that listens to the live lane.
pub(super) struct Presence {
    session: Session,
}

/// Nothing comes from the bus any more.
#[derive(Debug, thiserror::Error)]
#[error("the session with the broker has ended")]
struct Ended;

/// What is listened to: all for the directory, and events where the feed is made here.
pub(super) fn subscriptions(prefix: &str, with_feed: bool) -> Vec<link::Subscription> {
    let mut filters = crate::directory::subscriptions(prefix);
    if with_feed {
        filters.push(format!("{prefix}/live/+/+/+/+/event"));
    }
    filters.into_iter().map(link::Subscription::at_most_once).collect()
}

impl Presence {
    /// Starts the task. `feed` is given where records do not arrive in this process.
    pub fn start(
        bus: (Session, Events),
        prefix: String,
        directory: Directory,
        feed: Option<Feed>,
        watch: Watch,
        tasks: &Tasks,
    ) -> Self {
        let (session, mut events) = bus;
        let stop = tasks.stop().clone();
        tasks.spawn("directory", Kind::Critical, async move {
            while let Some(event) = events.next().await {
                let link::Event::Message(message) = event else { continue };
                let Some(topic) = Topic::parse(&prefix, &message.topic) else { continue };
                if let Some(feed) = feed.as_ref().filter(|feed| feed.is_watched()) {
                    announce(feed, &topic, &message.payload);
                }
                if let Topic::Status(who) = &topic {
                    watch.heard(who, &message.payload);
                }
                directory.note(&topic, &message.payload, Timestamp::from_system(SystemTime::now()));
            }
            if stop.is_requested() { Ok(()) } else { Err(Ended) }
        });
        Self { session }
    }

    /// Disconnects.
    pub async fn end(self) {
        self.session.close(Duration::from_secs(2)).await; // and with it the events end
    }
}

fn announce(feed: &Feed, topic: &Topic, payload: &[u8]) {
    // a document that cannot be read here is the gateway's mistake, and the archive lane's to judge
    let notice = match topic {
        Topic::Prediction(..) => serde_json::from_slice::<Live<Prediction>>(payload)
            .ok()
            .and_then(|live| Notice::prediction(&live.header, &live.body)),
        Topic::Event(..) => {
            serde_json::from_slice::<Live<Event>>(payload).ok().and_then(|live| Notice::event(&live.header, &live.body))
        }
        _ => None,
    };
    if let Some(notice) = notice {
        feed.send(notice);
    }
}
