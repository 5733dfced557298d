//! Who is asking. Every handler takes an [`Actor`], so that access control comes later without touching handlers.

use std::{convert::Infallible, fmt, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use daemon::http::Peer;

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Who reaches a hub that asks for no certificate: the machine's administrator.
    LocalAdministrator,
    /// Who showed a certificate, by its common name.
    Certificate(Arc<str>),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalAdministrator => f.write_str("local administrator"),
            Self::Certificate(name) => write!(f, "certificate `{name}`"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let name = parts.extensions.get::<Peer>().and_then(|peer| peer.common_name.clone());
        Ok(name.map_or(Self::LocalAdministrator, Self::Certificate))
    }
}
