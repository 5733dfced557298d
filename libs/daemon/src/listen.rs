//! Listening: who may be let in, and what happens when a port is taken.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Open to others without protection.
    #[error("{key} = \"{address}\" would be open to others without TLS and client certificates; {}", instead(.section.as_deref()))]
    Insecure {
        /// The configuration key of the address.
        key: String,
        /// The address.
        address: SocketAddr,
        /// The configuration section of TLS, where this address can have it.
        section: Option<String>,
    },
    /// Somebody else has the port.
    #[error("{key} = \"{address}\": port {} is taken by another process; stop it, or choose another port (0 takes any free one)", .address.port())]
    Taken {
        /// The configuration key of the address.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// The system says no for another reason.
    #[error("{key} = \"{address}\": cannot listen there: {source}")]
    Io {
        /// The configuration key of the address.
        key: String,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// What to write in place of an open address.
fn instead(section: Option<&str>) -> String {
    let encrypted = section.map(|tls| format!("set {tls}.cert, {tls}.key and {tls}.client_ca, "));
    format!("{}listen on 127.0.0.1, or write insecure = true", encrypted.unwrap_or_default())
}

/// Refuses an address that others can reach unless connections are encrypted and authenticated, or `insecure` says that
/// this is wanted. `key` and `section` are the configuration's names, for the message; an address that is never encrypted
/// has no section.
pub fn guard(
    address: SocketAddr,
    key: &str,
    section: Option<&str>,
    tls: Option<&crate::tls::ServerTls>,
    insecure: bool,
) -> Result<(), Error> {
    let protected = tls.is_some_and(|tls| tls.client_ca.is_some());
    if address.ip().to_canonical().is_loopback() || protected || insecure {
        return Ok(());
    }
    Err(Error::Insecure { key: key.to_owned(), address, section: section.map(str::to_owned) })
}

/// Listens at exactly this address; port 0 takes any free one.
pub fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, Error> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken { key: key.to_owned(), address },
        _ => Error::Io { key: key.to_owned(), address, source },
    };
    let listener = TcpListener::bind(address).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    Ok(listener)
}

/// Listens at this address. When it is taken and nobody asked for it (`explicit` is false: it is the default), takes a
/// free port instead and says so.
pub fn bind_or_free(address: SocketAddr, explicit: bool, key: &str) -> Result<TcpListener, Error> {
    match bind(address, key) {
        Err(Error::Taken { .. }) if !explicit => {
            let listener = bind(SocketAddr::new(address.ip(), 0), key)?;
            if let Ok(instead) = listener.local_addr() {
                tracing::warn!(key, taken = %address, instead = %instead, "default port is taken, using a free one");
            }
            Ok(listener)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_default_moves_and_a_taken_wish_fails() {
        let holder = bind("127.0.0.1:0".parse().unwrap(), "listen").unwrap();
        let taken = holder.local_addr().unwrap();
        let moved = bind_or_free(taken, false, "listen").unwrap().local_addr().unwrap();
        assert!(moved.port() != taken.port() && moved.ip() == taken.ip());
        let error = bind_or_free(taken, true, "admin.listen").unwrap_err().to_string();
        assert!(
            error.contains(&format!("port {} is taken", taken.port())) && error.contains("admin.listen"),
            "{error}"
        );
    }

    #[test]
    fn others_are_let_in_only_when_protected_or_wanted() {
        let open: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let error = guard(open, "listen", Some("tls"), None, false).unwrap_err().to_string();
        assert!(error.contains("insecure = true") && error.contains("tls.client_ca"), "{error}");
        let error = guard(open, "admin.listen", None, None, false).unwrap_err().to_string();
        assert!(error.contains("insecure = true") && !error.contains("cert,"), "{error}");
        assert!(guard(open, "listen", Some("tls"), None, true).is_ok());
        assert!(guard("[::1]:1".parse().unwrap(), "listen", Some("tls"), None, false).is_ok());
        let mut tls = crate::tls::ServerTls { cert: "c".into(), key: "k".into(), client_ca: None };
        assert!(guard(open, "listen", Some("tls"), Some(&tls), false).is_err());
        tls.client_ca = Some("ca".into());
        assert!(guard(open, "listen", Some("tls"), Some(&tls), false).is_ok());
    }
}
