//! The MQTT v5 session shell: connects, reconnects, subscribes again, and sends within bounds.
//!
//! [`connect`] starts one task that owns the connection. What comes back is a [`Session`] to publish with and
//! [`Events`] to read. The session outlives connections: it is resumed where the broker still has it
//! (`clean_start = false` with an expiry), and where it does not, subscriptions are made again and publications
//! that were accepted but not acknowledged are sent again. Only the packet codec of `rumqttc` is used: its event loop
//! drops accepted publications when a session is not resumed, and cannot read while its events are not consumed.
//!
//! Policies. *Hold*: [`Session::publish`] waits for room in the bounded queue, through outages too. *Refuse*:
//! [`Session::try_publish`] says at once that the queue is full or the link is down. *Drop*: an incoming QoS 0 message
//! that nobody reads, a publication whose expiry passed in the queue; both are counted in [`Stats`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backoff;
mod connection;
mod driver;
mod incoming;
mod inflight;
mod options;
mod probe;
mod publication;
mod service;
mod session;
mod simulated;

pub use connection::ConnectError;
pub use options::{Broker, Credentials, Options, OptionsError, Subscription, Will};
pub use probe::probe;
pub use publication::{Ack, Message, Publication, QoS};
pub use session::{Delivery, Event, Events, Refused, Session, Stats, Undelivered, connect};
pub use simulated::{FarEnd, simulated};
