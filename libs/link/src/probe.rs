//! One attempt to connect that explains itself, for `check`.

use std::time::Duration;

use crate::{
    ConnectError, Options,
    connection::{Connection, Purpose},
};

/// Connects once with these options, as another client and without touching the session, and says goodbye.
pub async fn probe(options: &Options, timeout: Duration) -> Result<(), ConnectError> {
    options.validate()?;
    let mut options = options.clone();
    options.connect_timeout = timeout;
    let mut connection = Connection::open(&options, Purpose::Probe).await?;
    connection.goodbye().await;
    Ok(())
}
