//! Watermarks: what the tables say, retained on each gateway's topic.
//!
//! After a publication the tables are read again and, where they moved meanwhile, it is published again: with several
//! ingest processes the slower one must not leave an old watermark behind. Gateways that wait are a set: one that
//! commits ten times during an outage gets one watermark.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use contract::{Archived, Kind, Principal, Topic};
use link::{Publication, Session};
use store::lake_index::LakeIndex;
use tokio::sync::Notify;

use super::{
    flush::{Outage, chain, ended},
    stats::{Fact, Stats},
};

/// The gateways that are owed a watermark.
#[derive(Clone, Default)]
pub struct Owed(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    set: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    owed: BTreeSet<Principal>,
    busy: bool,
}

impl Owed {
    /// These need a new watermark.
    pub fn add(&self, owners: impl IntoIterator<Item = Principal>) {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner).owed.extend(owners);
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    /// Waits until nobody is owed anything.
    pub async fn settled(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.0.set.lock().unwrap_or_else(PoisonError::into_inner);
                if state.owed.is_empty() && !state.busy {
                    return;
                }
            }
            // The publisher notifies when it is done; the interval covers a notification that another waiter took.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), changed).await;
        }
    }

    async fn next(&self) -> Principal {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut state = self.0.set.lock().unwrap_or_else(PoisonError::into_inner);
                state.busy = false;
                if let Some(next) = state.owed.pop_first() {
                    state.busy = true;
                    return next;
                }
            }
            changed.await;
        }
    }
}

/// Publishes watermarks.
pub struct Publisher {
    /// The lake's tables.
    pub index: LakeIndex,
    /// The bus.
    pub session: Session,
    /// The topics' prefix.
    pub prefix: String,
    /// Who is owed.
    pub owed: Owed,
    /// The hub's own name as a gateway: nobody listens there.
    pub own: contract::GatewayId,
    /// What is counted.
    pub stats: Arc<Stats>,
}

impl Publisher {
    /// Publishes for ever.
    pub async fn run(self) {
        let mut outage = None;
        loop {
            let who = self.owed.next().await;
            if who.gateway == self.own {
                continue;
            }
            match self.publish(&who).await {
                Ok(()) => ended(&mut outage),
                Err(error) => {
                    let outage = outage.get_or_insert_with(|| {
                        tracing::warn!(error = %chain(&*error), "watermarks cannot be published: tried again");
                        Outage::new("watermarks are published")
                    });
                    tokio::time::sleep(outage.wait()).await;
                    self.owed.add([who]);
                }
            }
        }
    }

    async fn publish(&self, who: &Principal) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut document = self.index.watermark(who).await?;
        loop {
            self.send(who, &document).await?;
            self.stats.count(Fact::Watermarks);
            let now = self.index.watermark(who).await?;
            if now == document {
                return Ok(());
            }
            document = now;
        }
    }

    async fn send(&self, who: &Principal, document: &Archived) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let topic = Topic::Archived(who.clone()).under(&self.prefix);
        let publication = Publication::new(topic, serde_json::to_vec(document)?)
            .at_least_once()
            .retained()
            .content_type("application/json")
            .property(contract::archived::KINDS, Kind::ALL.map(Kind::name).join(","));
        self.session.publish(publication).await?.await?;
        Ok(())
    }
}

/// Every gateway that the tables know.
pub async fn everyone(index: &LakeIndex) -> Result<HashSet<Principal>, store::tables::Error> {
    Ok(index.principals().await?.into_iter().collect())
}
