//! What the hub says to gateways, held against `docs/asyncapi.yaml` at a test's end.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use link::{Message, Session, Subscription};

/// A session that hears all that goes to gateways.
pub struct Described {
    _session: Session,
    heard: Arc<Mutex<Vec<Message>>>,
}

impl Described {
    pub async fn listen(url: &str) -> Self {
        let mut options = link::Options::new(url, "described").unwrap();
        options.subscriptions = vec![Subscription::at_least_once("sightline/down/#")];
        let (session, mut events) = link::connect(options).unwrap();
        assert!(matches!(events.next().await, Some(link::Event::Up { .. })));
        let heard: Arc<Mutex<Vec<Message>>> = Arc::default();
        let all = heard.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let link::Event::Message(message) = event {
                    all.lock().unwrap().push(message);
                }
            }
        });
        Self { _session: session, heard }
    }

    /// What `look` sees in the last message of a topic.
    pub fn last<T>(&self, topic: &str, look: impl FnOnce(&Message) -> T) -> Option<T> {
        self.heard.lock().unwrap().iter().rfind(|message| message.topic == topic).map(look)
    }

    /// Fails naming every message that the document does not describe.
    pub fn check(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = root.join(".sightline/venv/bin/python");
        assert!(python.exists(), "{} is not there; `make peers` installs it", python.display());
        let mut child = Command::new(python)
            .arg(root.join("tests/peers/asyncapi.py"))
            .arg("messages")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = String::new();
        for message in self.heard.lock().unwrap().iter() {
            let payload = BASE64_STANDARD.encode(&message.payload);
            // a message that comes while it is subscribed to has lost its retain flag: only the document itself is held
            let line = serde_json::json!({ "topic": message.topic, "payload": payload });
            lines.push_str(&format!("{line}\n"));
        }
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
