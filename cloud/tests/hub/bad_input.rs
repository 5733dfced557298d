//! What people get wrong: each mistake ends the hub with an error that names what, which and what to do.

use store::{
    lake_index::LakeIndex,
    objects::{ErrorKind, Location, Objects},
    tables::Tables,
};

use super::{small_disk::SmallDisk, support::*};

/// Starts the hub, which must refuse, and compares code and words.
fn refuses(config: &str, code: i32, words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    refuses_in(folder.path(), config, &["run"], code, words)
}

fn refuses_in(folder: &std::path::Path, config: &str, args: &[&str], code: i32, words: &[&str]) -> String {
    let (found, said) = fails(folder, config, args);
    assert_eq!(found, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    said
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_line_and_key() {
    let config = "lisetn = \"127.0.0.1:0\"\nroles = [\"broker\", \"wizard\"]\nmqtt = \"http://x\"\n\
                  [broker]\nmessage_max = 5\n[ingest]\nflush_interval = \"soon\"\n";
    let said = refuses(
        config,
        2,
        &["hub.toml:1:", "lisetn", "listen", "hub.toml:2:", "wizard", "hub.toml:3:", "mqtt://host:1883", "hub.toml:5:"],
    );
    assert!(said.contains("hub.toml:7:") && said.contains("flush_interval"), "{said}");
}

#[test]
fn roles_without_what_they_need_are_explained() {
    let words = ["mqtt", "add broker to roles", "objects", "add objects to roles"];
    refuses("roles = [\"ingest\"]", 2, &words);
    refuses("listen = \"0.0.0.0:8080\"", 2, &["listen", "0.0.0.0:8080", "tls.cert", "insecure = true"]);
    refuses("broker.listen = \"0.0.0.0:1883\"", 2, &["broker.listen", "insecure = true"]);
}

#[test]
fn viewers_that_the_access_list_cannot_hold_are_named() {
    let viewers =
        |names: &str, ca: &str| format!("[broker.tls]\ncert = \"c.pem\"\nkey = \"c.key\"\n{ca}viewers = [{names}]\n");
    let ca = "client_ca = \"ca.pem\"\n";
    for name in ["a/b", "", "all\\ntopic read #", " me"] {
        refuses(&viewers(&format!("\"control room\", \"{name}\""), ca), 2, &["broker.tls.viewers", "common name"]);
    }
    refuses(&viewers("\"me\"", ""), 2, &["broker.tls.viewers", "broker.tls.client_ca"]);
}

/// What a person copies from the manual must start.
#[test]
fn the_manuals_example_of_a_network_is_a_configuration() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    let example = manual.split("# hub.toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), example, &["print-config"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("control room"));
}

#[test]
fn a_missing_mosquitto_names_the_package() {
    let config = format!("{FREE_PORTS}broker.program = \"no-such-mosquitto\"\n");
    refuses(&config, 4, &["no-such-mosquitto", "apt-get install mosquitto", "mqtt = \"mqtt://host:1883\""]);
}

#[test]
fn a_missing_onnxruntime_says_how_to_get_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let config = format!(
        "{FREE_PORTS}[inference]\nmodel = \"{root}/.sightline/models/tiny-gray64\"\nlibrary = \"/nowhere/libonnxruntime.so\"\n"
    );
    refuses(&config, 4, &["model", "/nowhere/libonnxruntime.so", "make setup"]);
    let folder = tempfile::tempdir().unwrap();
    refuses_in(folder.path(), &config, &["check"], 1, &[]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (key, other) in [("listen", ""), ("broker.listen", FREE_PORTS), ("s3.listen", FREE_PORTS)] {
        let rest: String =
            other.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        let config = format!("{rest}{key} = \"127.0.0.1:{port}\"\n");
        refuses(&config, 4, &[key, &port.to_string(), "taken"]);
    }
}

#[test]
fn a_state_folder_in_use_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    let pid = hub.child.id().to_string();
    refuses_in(folder.path(), FREE_PORTS, &["run"], 3, &["state", &pid, "--state"]);
    assert!(hub.stop().success());
}

#[test]
fn a_state_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["/proc/no-such-folder", "--state"];
    refuses_in(folder.path(), FREE_PORTS, &["run", "--state", "/proc/no-such-folder"], 5, &words);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let path = folder.path().join("newer.db");
    let uri = format!("sqlite:{}", path.display());
    runtime.block_on(async {
        let tables = Tables::open(&uri).await.unwrap();
        LakeIndex::open(tables.clone(), now()).await.unwrap();
        tables
            .write(
                |tx| async move { tx.sql("UPDATE sightline_table_sets SET version = 999").execute().await.map(drop) },
            )
            .await
            .unwrap();
        tables.close().await;
    });
    let config = format!("{FREE_PORTS}tables = \"{uri}\"\n");
    refuses_in(folder.path(), &config, &["run"], 5, &["version 999", "newer", "backup"]);
}

#[test]
fn wrong_s3_credentials_and_an_absent_bucket_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), &format!("{FREE_PORTS}roles = [\"broker\", \"objects\"]\n"));
    daemon::install_crypto();
    let location = Location::from_state(&hub.state).unwrap();
    assert!(Objects::connect(location.clone()).is_ok());
    let config = |bucket: &str, secret: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nroles = [\"ingest\"]\nmqtt = \"mqtt://{}\"\nobjects = \"s3://{bucket}\"\n\
             [s3]\nendpoint = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{secret}\"\n",
            hub.address("mqtt"),
            location.endpoint.as_deref().unwrap(),
            location.credentials.access_key,
        )
    };
    refuses(&config("sightline", "wrong"), 2, &["s3://sightline", "secret key"]);
    refuses(&config("elsewhere", &location.credentials.secret_key), 4, &["s3://elsewhere", "bucket"]);
    assert!(hub.stop().success());
}

#[test]
fn a_full_disk_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(folder.path(), 64).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let state = disk.folder().join("state");
    let hub = command(outside.path(), FREE_PORTS, &["run", "--state", state.to_str().unwrap()]);
    let mut filled = std::process::Command::new("sh");
    filled.args(["-c", "! head -c 1000000 /dev/zero >\"$0\" 2>&1 && exec \"$@\""]);
    filled.arg(disk.folder().join("filling")).arg(hub.get_program()).args(hub.get_args());
    let (code, said) = ends(disk.run(&filled));
    assert!(code == 5 && said.contains(state.to_str().unwrap()), "{code} {said}");
    assert!(said.contains("full") || said.contains("space"), "{said}");
}

/// A client's wrong secret is the client's mistake: one line, and no error of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_at_the_object_store_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    let mut location = Location::from_state(&hub.state).unwrap();
    location.credentials.secret_key = "guess".into();
    let objects = Objects::connect(location).unwrap();
    for _ in 0..3 {
        let error = objects.get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    assert!(hub.stop().success());
    let log = hub.log();
    let refusals: Vec<_> = log.lines().filter(|line| line.contains("object store refused a request")).collect();
    assert!(matches!(refusals[..], [line] if line.contains("WARN") && line.contains("/sightline/k")), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("SignatureDoesNotMatch"), "{log}");
}
