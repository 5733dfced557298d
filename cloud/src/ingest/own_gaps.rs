//! The hub's own logs of gap records, one a site: what it says of records that it could not read. Pure.
//!
//! Bounded: beyond [`LOGS_MAX`] sites all begin anew. A log costs one epoch in the tables and nothing else, and sites are
//! as many as topics name, which on an open broker is as many as somebody likes.

use std::{collections::HashMap, sync::Arc, time::Instant};

use contract::{CaptureSource, Epoch, GatewayId, Header, Kind, Principal, SiteId, Timestamp};

/// Logs at one time.
const LOGS_MAX: usize = 1024;

/// The logs, and the name under which they are written.
pub struct OwnGaps {
    gateway: GatewayId,
    boot_id: Arc<str>,
    started: Instant,
    logs: HashMap<SiteId, (Epoch, u64)>,
}

impl OwnGaps {
    /// No log yet.
    pub fn new(gateway: GatewayId, now: Instant) -> Self {
        let boot_id = format!("{:032x}", crate::lake::random_u128()).into();
        Self { gateway, boot_id, started: now, logs: HashMap::new() }
    }

    /// Begins every log anew: the tables that knew the old ones are others now.
    pub fn forget(&mut self) {
        self.logs.clear();
    }

    /// The header of the next record of a site's log, and whose log that is. A `seq` of 0 begins a log.
    pub fn next(&mut self, site: &SiteId, at: Timestamp, now: Instant) -> (Principal, Header) {
        if self.logs.len() >= LOGS_MAX && !self.logs.contains_key(site) {
            self.logs.clear();
        }
        let fresh = || (Epoch(crate::lake::random_u128()), 0);
        let (epoch, next) = self.logs.entry(site.clone()).or_insert_with(fresh);
        let seq = *next;
        *next += 1;
        let header = Header {
            schema: contract::SCHEMA,
            kind: Kind::Gap,
            site: site.clone(),
            gateway: self.gateway.clone(),
            camera: None,
            region: None,
            epoch: *epoch,
            seq,
            captured_at: at,
            captured_source: CaptureSource::Arrival,
            monotonic_us: u64::try_from(now.saturating_duration_since(self.started).as_micros()).unwrap_or(0),
            boot_id: self.boot_id.clone(),
            traceparent: None,
            model: None,
            frame_id: None,
        };
        (Principal { site: site.clone(), gateway: self.gateway.clone() }, header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_site_counts_for_itself_and_the_number_of_logs_is_bounded() {
        let now = Instant::now();
        let mut gaps = OwnGaps::new("hub-test".parse().unwrap(), now);
        let mut next = |site: &str| {
            let (owner, header) = gaps.next(&site.parse().unwrap(), Timestamp(0), now);
            assert_eq!((owner.site.as_str(), owner.gateway.as_str()), (site, "hub-test"));
            (header.epoch, header.seq, gaps.logs.len())
        };
        let (epoch, seq, _) = next("a");
        assert_eq!(seq, 0);
        assert_eq!(next("a"), (epoch, 1, 1));
        assert_ne!(next("b").0, epoch);
        for site in 0..3 * LOGS_MAX {
            assert!(next(&format!("s{site}")).2 <= LOGS_MAX);
        }
        let (again, seq, _) = next("a");
        assert!(again != epoch && seq == 0, "a log that was given up is not gone on with");
    }
}
