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

/// Watermarks read and published together: a thousand gateways that each send a little must not cost the tables a thousand
/// questions after every flush.
const TOGETHER: usize = 64;

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

    /// The next few; waits for the first.
    async fn next(&self) -> Vec<Principal> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut state = self.0.set.lock().unwrap_or_else(PoisonError::into_inner);
                state.busy = false;
                let next: Vec<_> = std::iter::from_fn(|| state.owed.pop_first()).take(TOGETHER).collect();
                if !next.is_empty() {
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
            let mut who = self.owed.next().await;
            who.retain(|who| who.gateway != self.own);
            match self.publish(who.clone()).await {
                Ok(()) => ended(&mut outage),
                Err(error) => {
                    let outage = outage.get_or_insert_with(|| {
                        tracing::warn!(error = %chain(&*error), "watermarks cannot be published: tried again");
                        Outage::new("watermarks are published")
                    });
                    tokio::time::sleep(outage.wait()).await;
                    self.owed.add(who);
                }
            }
        }
    }

    async fn publish(&self, mut who: Vec<Principal>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut documents = self.index.watermarks(&who).await?;
        while !who.is_empty() {
            self.send(&who, &documents).await?;
            let now = self.index.watermarks(&who).await?;
            let moved = who.into_iter().zip(now).zip(&documents).filter(|((_, now), sent)| now != *sent);
            let moved: Vec<_> = moved.map(|(moved, _)| moved).collect();
            (who, documents) = moved.into_iter().unzip();
        }
        Ok(())
    }

    /// Hands all of them over, then waits until the broker has each.
    async fn send(
        &self,
        who: &[Principal],
        documents: &[Archived],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let kinds = Kind::ALL.map(Kind::name).join(",");
        let mut deliveries = Vec::with_capacity(who.len());
        for (who, document) in who.iter().zip(documents) {
            let topic = Topic::Archived(who.clone()).under(&self.prefix);
            let publication = Publication::new(topic, serde_json::to_vec(document)?)
                .at_least_once()
                .retained()
                .content_type("application/json")
                .property(contract::archived::KINDS, kinds.clone());
            deliveries.push(self.session.publish(publication).await?);
        }
        for delivery in deliveries {
            delivery.await?;
            self.stats.count(Fact::Watermarks);
        }
        Ok(())
    }
}

/// Every gateway that the tables know.
pub async fn everyone(index: &LakeIndex) -> Result<HashSet<Principal>, store::tables::Error> {
    Ok(index.principals().await?.into_iter().collect())
}
