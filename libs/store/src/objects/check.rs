//! Trying a location before it is relied upon, by doing what will be done with it.

use super::{Error, ErrorKind, Objects, PutOptions, error::Failure};
use crate::chance::hex_id;

impl Objects {
    /// Puts, reads, lists and deletes a small object, so that a missing right shows now and not in the first flush.
    ///
    /// Errors: `Unreachable`, `Denied`, `NoBucket`, … as each operation gives them; `Damaged` when what is read is not what
    /// was put, `Other` when the server replaces an object that it was told not to replace.
    pub async fn check(&self) -> Result<(), Error> {
        let id = hex_id().map_err(|e| {
            Error::new("check", self.location().shown(""), Failure::new(ErrorKind::Other, e.to_string()))
        })?;
        let key = format!(".sightline-check-{id}");
        let create = || PutOptions { if_none_match: true, ..PutOptions::default() };
        self.put(&key, &b"sightline"[..], create()).await?;
        let result = self.check_behaviour(&key, create()).await;
        self.delete(&key).await?;
        result
    }

    async fn check_behaviour(&self, key: &str, create: PutOptions) -> Result<(), Error> {
        let wrong = |kind, said: &str| Err(Error::new("check", self.location().shown(key), Failure::new(kind, said)));
        if self.get_range(key, 0..5).await?.as_ref() != b"sight" {
            return wrong(ErrorKind::Damaged, "a range that was read is not what was put");
        }
        if !self.list(key).all().await?.iter().any(|entry| entry.key == key) {
            return wrong(ErrorKind::Other, "an object that was put is not listed");
        }
        match self.put(key, &b"replaced"[..], create).await {
            Err(e) if e.kind() == ErrorKind::Exists => Ok(()),
            Err(e) => Err(e),
            Ok(_) => wrong(ErrorKind::Other, "the server ignores If-None-Match and replaces objects; use a newer one"),
        }
    }
}
