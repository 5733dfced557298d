//! Holds what was seen on MQTT against `docs/asyncapi.yaml`: topic, schema, retain, quality of service, expiry.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{Message, runtime};

/// Fails naming every message that the document does not describe.
pub fn validate(messages: &[Message]) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let script = runtime::root().join("tests/peers/asyncapi.py");
    let mut child = Command::new(runtime::python()?)
        .arg(&script)
        .arg("messages")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", script.display()))?;
    let mut lines = Vec::new();
    for message in messages {
        let line = json!({
            "topic": message.topic,
            "payload": BASE64_STANDARD.encode(&message.payload),
            "qos": message.qos,
            "retain": message.retain,
            "expiry": message.expiry,
            "content_type": message.content_type,
        });
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    child.stdin.take().context("stdin was asked for")?.write_all(&lines)?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "messages differ from docs/asyncapi.yaml:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
