//! What the hub makes for itself at its first start, and what it tells other programs of this machine.

use std::{fs, io, path::Path};

use daemon::state::{StateDir, atomic_write};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::objects::{Credentials, StateEndpoint};

use super::Error;

/// The keys of the embedded S3 server.
#[derive(Serialize, Deserialize)]
struct Keys {
    access_key: String,
    secret_key: String,
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |source| Error::File { path: path.to_owned(), source }
}

/// Eight hex digits that tell this hub from others, made at the first start.
pub(super) fn instance(state: &StateDir) -> Result<String, Error> {
    let path = state.join("instance");
    let is_instance = |text: &str| text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match fs::read_to_string(&path) {
        Ok(text) if is_instance(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => tracing::warn!(path = %path.display(), "the instance's name cannot be read and is made anew"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(file_error(&path)(error)),
    }
    let made = format!("{:08x}", crate::lake::random_u128() as u32);
    atomic_write(&path, made.as_bytes(), 0o600).map_err(file_error(&path))?;
    Ok(made)
}

/// The keys of the embedded S3 server, made at the first start.
pub(super) fn keys(state: &StateDir) -> Result<Credentials, Error> {
    let path = state.join("s3-keys.json");
    let keys = match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).map_err(|e| file_error(&path)(e.into()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let keys = Keys {
                access_key: format!("SL{:018X}", crate::lake::random_u128() >> 56),
                secret_key: format!("{:032x}{:032x}", crate::lake::random_u128(), crate::lake::random_u128()),
            };
            let json = serde_json::to_vec(&keys).unwrap_or_default();
            atomic_write(&path, &json, 0o600).map_err(file_error(&path))?;
            keys
        }
        Err(error) => return Err(file_error(&path)(error)),
    };
    Ok(Credentials { access_key: keys.access_key, secret_key: keys.secret_key, session_token: None })
}

/// Where everything is, for `sightline-train --state` and the hub's own commands.
pub(super) struct Endpoints<'a> {
    pub s3: Option<StateEndpoint>,
    pub tables: &'a str,
    pub mqtt: Option<String>,
    pub http: String,
    pub prefix: &'a str,
}

impl Endpoints<'_> {
    /// Writes `endpoints.json`, for the state folder's owner alone.
    pub fn write(&self, state: &StateDir) -> Result<(), Error> {
        let path = state.join("endpoints.json");
        let mut document = json!({ "tables": self.tables, "http": self.http, "prefix": self.prefix });
        document["s3"] = self.s3.as_ref().map_or(Value::Null, |s3| json!(s3));
        document["mqtt"] = self.mqtt.as_deref().map_or(Value::Null, Value::from);
        let text = serde_json::to_vec_pretty(&document).unwrap_or_default();
        atomic_write(&path, &text, 0o600).map_err(file_error(&path))
    }
}
