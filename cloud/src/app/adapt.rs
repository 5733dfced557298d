//! What the API asks for, made of what the other roles and the lake offer.

use std::{convert::Infallible, ops::Range, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use contract::{FrameId, Kind, Principal, RegionId, Timestamp, frame::Address};
use store::lake_index::LakeIndex;
use tokio::sync::{broadcast, oneshot};

use crate::{
    api::{
        self, Feed, Notice,
        handles::{GatewayTwins, LakeContents, LakeError, LakeReport, Refused, Rollback},
    },
    ingest::{self, Arrived, Fact, Stats, SubmitError},
    lake::{self, Body, Reader},
    upkeep::Findings,
};

/// The lake for the API.
pub(super) struct Lake {
    /// Its rows.
    pub reader: Reader,
    /// Its tables.
    pub index: LakeIndex,
    /// What gateways knew better.
    pub findings: Findings,
    /// What ingest counts, where this process runs it.
    pub stats: Option<Arc<Stats>>,
}

#[async_trait]
impl api::Lake for Lake {
    async fn page(
        &self,
        kind: Kind,
        filter: &api::handles::Filter,
        after: Option<api::handles::Position>,
        limit: usize,
    ) -> Result<api::handles::Page, LakeError> {
        let filter = lake::Filter {
            from: Some(filter.from),
            to: Some(filter.to),
            site: filter.site.clone(),
            gateway: filter.gateway.clone(),
            camera: filter.camera.clone(),
            region: filter.region.clone(),
            label: filter.label.clone(),
            min_score: filter.min_score,
        };
        let after = after.map(|after| lake::Position::new(after.at, after.epoch, after.seq));
        let page = self.reader.page(kind, &filter, after, limit).await?;
        let next = page.next.map(|next| api::handles::Position { at: next.at(), epoch: next.epoch(), seq: next.seq() });
        Ok(api::handles::Page { rows: page.rows, next })
    }

    async fn sample(&self, frame: &FrameId, region: &RegionId) -> Result<Option<lake::Row>, LakeError> {
        Ok(self.reader.sample(frame, region).await?)
    }

    async fn bytes(&self, object: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        Ok(self.reader.bytes(object, range).await?)
    }

    async fn report(&self) -> Result<LakeReport, LakeError> {
        let (identity, rebuild_due) = (self.index.identity().await?, self.index.rebuild_due().await?);
        let now = Timestamp::from_system(SystemTime::now());
        let count = |fact| self.stats.as_ref().map(|stats| stats.get(fact));
        let contents = self.index.counts().await?.into_iter().map(|count| LakeContents {
            kind: count.kind.name(),
            format: count.format.name(),
            objects: count.objects,
            rows: count.rows,
            bytes: count.bytes,
        });
        let twins = self.findings.twins(now).into_iter().map(|twin| GatewayTwins {
            site: twin.gateway.site.to_string(),
            gateway: twin.gateway.gateway.to_string(),
            epochs: twin.epochs.map(|epoch| epoch.to_string()).to_vec(),
            seen_at: twin.seen_at,
        });
        let rollbacks = self.findings.rollbacks().into_iter().map(|found| Rollback {
            at: found.at,
            gateway: found.gateway.to_string(),
            kind: found.kind.name(),
            told: found.told,
            known: found.known,
        });
        Ok(LakeReport {
            lake: identity.lake,
            incarnation: identity.incarnation,
            rebuild_due,
            contents: contents.collect(),
            duplicates: count(Fact::Duplicates),
            duplicates_unchecked: count(Fact::Unchecked),
            duplicates_differing: count(Fact::Differing),
            gateway_twins: twins.collect(),
            rollbacks: rollbacks.collect(),
        })
    }
}

/// Ingest for the API.
pub(super) struct Archive(pub ingest::Handle);

impl api::Archive for Archive {
    fn submit(&self, from: &Principal, records: Vec<(Address, Bytes)>) -> Result<oneshot::Receiver<()>, Refused> {
        self.0.submit(from, records).map_err(|error| match error {
            SubmitError::Overloaded => Refused::Full,
            SubmitError::Stopped => Refused::Stopping,
        })
    }
}

/// Announces what arrives, while somebody listens.
pub(super) async fn feed(mut arrived: broadcast::Receiver<Arc<Arrived>>, feed: Feed) -> Result<(), Infallible> {
    loop {
        match arrived.recv().await {
            Ok(arrived) if feed.is_watched() => {
                let header = &arrived.record.header;
                let notice = match &arrived.record.body {
                    Body::Prediction(body) => Notice::prediction(header, body),
                    Body::Event(body) => Notice::event(header, body),
                    Body::Sample(_) | Body::Health(_) | Body::Gap(_) => None,
                };
                if let Some(notice) = notice {
                    feed.send(notice);
                }
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "live streams missed records: the hub is busy");
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}
