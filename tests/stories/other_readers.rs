//! Clients that others wrote read the same: paho-mqtt by MQTT 3.1.1 and 5, boto3, DuckDB and Polars.

use std::process::Command;

use anyhow::{Result, ensure};
use contract::Kind;
use world::{Config, Edge, Hub, runtime, story};

use crate::common::tiny;

#[test]
fn python_clients_find_the_same_counts_labels_and_pictures() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let mut config = tiny()?;
        for (camera, uri) in [("ball", "test:ball?fps=10"), ("snow", "test:snow?fps=5"), ("bars", "test:smpte?fps=5")] {
            config = config
                .set(&format!("cameras.{camera}.uri"), uri)
                .set(&format!("cameras.{camera}.regions.full.fps"), "every")
                .set(&format!("cameras.{camera}.regions.full.samples.periodic"), "1s");
        }
        let mut edge = Edge::start(folder, &hub, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 5)?;
        let read = |args: &[&str]| -> Result<String> {
            let script = runtime::root().join("tests/peers/read_demo.py");
            let said =
                Command::new(runtime::python()?).arg(script).arg("--state").arg(&hub.state).args(args).output()?;
            let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            ensure!(said.status.success(), "read_demo.py {args:?}:\n{text}");
            Ok(text)
        };
        print!("{}", read(&["--live", "10"])?);
        let made = edge.stop()?.classified;
        print!("{}", read(&["--expect", &made.to_string()])?);
        Ok(())
    });
}
