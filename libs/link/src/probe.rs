//! One attempt to connect that explains itself, for `check`.

use std::time::Duration;

use crate::{
    ConnectError, Options,
    connection::{Connection, Purpose},
};

/// Connects once with these options, as another client and without touching the session, and says goodbye. Gives the longest
/// packet that may be sent, in bytes.
pub async fn probe(options: &Options, timeout: Duration) -> Result<u32, ConnectError> {
    options.validate()?;
    let mut options = options.clone();
    options.connect_timeout = timeout;
    let mut connection = Connection::open(&options, Purpose::Probe).await?;
    connection.goodbye().await;
    Ok(connection.terms.packet_max)
}
