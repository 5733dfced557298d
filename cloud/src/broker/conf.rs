//! The generated `mosquitto.conf` and its access list.

use std::{fmt::Write as _, fs, io, net::SocketAddr, path::PathBuf};

use super::Options;

/// Messages that the broker holds for one client that is away or slow; by bytes the next one is met first.
const QUEUED_MESSAGES: u32 = 100_000;
/// Bytes held for one client. The hub's archive subscription needs the most, and gateways send again what is dropped.
const QUEUED_BYTES: u64 = 64 << 20;
/// Topic, properties and headers of a packet, beside its payload.
const PACKET_EXTRA: u64 = 64 << 10;

/// Writes the files and gives the configuration's path.
pub(super) fn write(options: &Options, plain: SocketAddr, encrypted: Option<SocketAddr>) -> io::Result<PathBuf> {
    let acl = options.folder.join("acl");
    daemon::state::atomic_write(&acl, access_list(&options.prefix, &options.viewers).as_bytes(), 0o600)?;
    let conf = options.folder.join("mosquitto.conf");
    let text = text(options, plain, encrypted, &daemon::process::user());
    daemon::state::atomic_write(&conf, text.as_bytes(), 0o600)?;
    fs::metadata(&conf).map(|_| conf)
}

fn text(options: &Options, plain: SocketAddr, encrypted: Option<SocketAddr>, user: &str) -> String {
    let folder = options.folder.display();
    let packet_max = options.message_max + PACKET_EXTRA;
    let mut out = format!(
        "# Made by sightline-hub at each start; changes are lost.\n\
         per_listener_settings true\n\
         user {user}\n\
         persistence true\n\
         persistence_location {folder}/\n\
         persistence_file mosquitto.db\n\
         autosave_on_changes false\n\
         autosave_interval 60\n\
         persistent_client_expiration 7d\n\
         max_inflight_messages 64\n\
         max_queued_messages {QUEUED_MESSAGES}\n\
         max_queued_bytes {QUEUED_BYTES}\n\
         max_packet_size {packet_max}\n\
         set_tcp_nodelay true\n\
         sys_interval 0\n\
         connection_messages true\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n\
         log_type notice\n\
         log_type information\n\
         log_timestamp false\n\
         \n\
         # programs of this machine\n\
         listener {} {}\n\
         allow_anonymous true\n",
        plain.port(),
        plain.ip(),
    );
    if let (Some(address), Some((_, tls))) = (encrypted, &options.encrypted) {
        // writing to a String cannot fail
        let _ = write!(
            out,
            "\n# gateways\nlistener {} {}\ncertfile {}\nkeyfile {}\ntls_version tlsv1.2\n",
            address.port(),
            address.ip(),
            tls.cert.display(),
            tls.key.display()
        );
        let _ = match &tls.client_ca {
            Some(ca) => write!(
                out,
                "cafile {}\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\n\
                 acl_file {folder}/acl\n",
                ca.display()
            ),
            None => out.write_str("allow_anonymous true\n"),
        };
    }
    out
}

/// Three lines, for every principal: the user name is the certificate's common name, `<site>/<gateway>`; and two for each
/// viewer.
fn access_list(prefix: &str, viewers: &[String]) -> String {
    let mut list =
        format!("pattern write {prefix}/up/%u/+\npattern write {prefix}/live/%u/#\npattern read {prefix}/down/%u/+\n");
    for viewer in viewers {
        let _ = write!(list, "\nuser {viewer}\ntopic read {prefix}/live/#\n"); // writing to a String cannot fail
    }
    list
}

#[cfg(test)]
mod tests {
    use daemon::tls::ServerTls;

    use super::{super::Listen, *};

    #[test]
    fn the_configuration_is_as_agreed() {
        let listen = Listen { address: "127.0.0.1:0".parse().unwrap(), explicit: true };
        let tls = ServerTls { cert: "/c.pem".into(), key: "/k.pem".into(), client_ca: Some("/ca.pem".into()) };
        let options = Options {
            folder: "/state/broker".into(),
            program: "mosquitto".into(),
            listen,
            encrypted: Some((listen, tls)),
            message_max: 1 << 20,
            prefix: "sightline".into(),
            viewers: vec!["control room".into()],
            insecure: false,
        };
        let text = text(&options, "127.0.0.1:1883".parse().unwrap(), "127.0.0.1:8883".parse().ok(), "sightline");
        insta::assert_snapshot!(format!("{text}\n--- acl\n{}", access_list(&options.prefix, &options.viewers)));
    }
}
