//! Who this agent is, and the header that says so in every record.

use std::sync::Arc;

use contract::{CaptureSource, Epoch, GatewayId, Header, Kind, Principal, SCHEMA, SiteId, Timestamp, frame::Address};

use crate::clock::{self, Mono};

/// What all records of this process share.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The site.
    pub site: SiteId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The boot that monotonic times count from.
    pub boot_id: Arc<str>,
    /// Where this run counts a camera's frames from: the log outlives the run, and a frame's id is unique in the log.
    pub frames_from: u64,
}

impl Identity {
    /// An identity on this machine.
    pub fn new(site: SiteId, gateway: GatewayId) -> Self {
        Self { site, gateway, boot_id: clock::boot_id(), frames_from: 0 }
    }

    /// Site and gateway, as topics have them.
    pub fn principal(&self) -> Principal {
        Principal { site: self.site.clone(), gateway: self.gateway.clone() }
    }

    /// A header that is about the gateway itself; whoever writes a record about a camera fills in the rest.
    pub fn header(&self, kind: Kind, address: Address, captured_at: Timestamp, monotonic: Mono) -> Header {
        Header {
            schema: SCHEMA,
            kind,
            site: self.site.clone(),
            gateway: self.gateway.clone(),
            camera: None,
            region: None,
            epoch: address.epoch,
            seq: address.seq,
            captured_at,
            captured_source: CaptureSource::Arrival,
            monotonic_us: monotonic.0,
            boot_id: self.boot_id.clone(),
            traceparent: None,
            model: None,
            frame_id: None,
        }
    }
}

/// A random epoch for a new log.
///
/// # Errors
/// The system has no random numbers.
pub fn new_epoch() -> Result<Epoch, getrandom::Error> {
    if let Some(clocks) = clock::Simulated::current() {
        return Ok(Epoch(clocks.epoch().into()));
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(Epoch(u128::from_be_bytes(bytes)))
}
