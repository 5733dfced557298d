//! Which desired document was last accepted, on disk: a gateway refuses to go back, also after a restart.

use std::path::Path;

use crate::twin::Accepted;

/// The file's name in the state folder.
const FILE: &str = "desired.json";

/// What the last run left.
pub fn read(state: &Path) -> Option<Accepted> {
    let path = state.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "last desired generation cannot be read; an older one may be taken");
            return None;
        }
    };
    let read = serde_json::from_slice(&text);
    read.inspect_err(|error| {
        tracing::error!(%error, path = %path.display(), "last desired generation cannot be read; an older one may be taken");
    })
    .ok()
}

/// Keeps it.
pub fn write(state: &Path, accepted: &Accepted) {
    let written = serde_json::to_vec(accepted).map_err(std::io::Error::other);
    let written = written.and_then(|json| daemon::state::atomic_write(&state.join(FILE), &json, 0o600));
    if let Err(error) = written {
        tracing::error!(%error, "desired generation is not saved; an older one may be taken after a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(read(state.path()), None);
        let accepted = Accepted { authority: "hub".into(), generation: 7 };
        write(state.path(), &accepted);
        assert_eq!(read(state.path()), Some(accepted));
        std::fs::write(state.path().join(FILE), "{").unwrap();
        assert_eq!(read(state.path()), None);
    }
}
