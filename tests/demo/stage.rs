//! Starting everything, and saying where it is.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use world::{Config, Edge, Hub, TestCamera, runtime};

use crate::cameras::{self, CAMERAS};

/// Everything that runs.
pub struct Stage {
    /// Stopped last.
    pub hub: Hub,
    /// Serves the RTSP camera.
    pub camera: TestCamera,
    /// Stopped first.
    pub edge: Edge,
}

impl Stage {
    /// Starts hub, test camera and agent, in this order.
    pub fn set(folder: &Path) -> Result<Self> {
        say("starting the hub: broker, object store, ingest, API");
        let hub = Hub::start_on_usual_ports(folder, hub_config()?)?;
        say("starting a test camera (RTSP)");
        let camera = TestCamera::start(&runtime::video()?)?;
        say("starting the agent with three cameras");
        let edge = Edge::start(folder, &hub, cameras::config(&camera.url)?)?;
        Ok(Self { hub, camera, edge })
    }

    /// Prints the addresses, and what to try.
    pub fn explain(&self, limit: Option<Duration>) -> Result<()> {
        let (http, mqtt) = (self.hub.http()?, self.hub.mqtt()?);
        let (host, port) = mqtt.rsplit_once(':').context("MQTT address names no port")?;
        let endpoints = self.hub.state.join("endpoints.json");
        println!();
        println!("  API        http://{http}/api/v1/cameras");
        println!("  API docs   http://{http}/docs");
        println!("  MQTT       mosquitto_sub -h {host} -p {port} -v -t 'sightline/live/+/+/+/+/event'");
        println!("  S3         http://{} (bucket sightline; credentials in {})", self.s3()?, endpoints.display());
        println!("  RTSP       {}", self.camera.url);
        println!("  agent      http://{}/metrics", self.edge.ready["admin"].as_str().unwrap_or("?"));
        println!();
        for (camera, what) in CAMERAS {
            println!("  {camera:<10} {what}");
        }
        match limit {
            Some(limit) => println!("\nStops by itself after {} s.\n", limit.as_secs_f64()),
            None => println!("\nCtrl-C stops it in order, and counts.\n"),
        }
        Ok(())
    }

    fn s3(&self) -> Result<&str> {
        self.hub.ready["s3"].as_str().context("ready line of the hub names no s3 address")
    }

    /// Fails when something has ended by itself.
    pub fn still_there(&mut self) -> Result<()> {
        for (name, process) in [("hub", &mut self.hub.process), ("agent", &mut self.edge.process)] {
            ensure!(process.is_running(), "the {name} ended by itself; its last words:\n{}", process.log().text());
        }
        Ok(())
    }
}

fn hub_config() -> Result<Config> {
    // Shorter than in a real installation, so that rows can be queried while the demo runs.
    Ok(Config::new()
        .set("ingest.flush_interval", "3s")
        .set("inference.model", runtime::model()?.display().to_string())
        .set("inference.library", runtime::onnxruntime()?.display().to_string()))
}

/// A line about a step that may take a while.
pub fn say(what: &str) {
    println!("demo: {what}");
}
