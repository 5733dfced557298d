//! The live table: what a subscriber of the MQTT topics knows of each camera, one line each.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use contract::Topic;
use world::{Hub, Message, Observer, mqtt::Login};

use crate::cameras::CAMERAS;

/// What is known of one camera.
#[derive(Default)]
struct Camera {
    status: Option<String>,
    label: String,
    score: f64,
    total_us: u64,
    /// When predictions came, over the last [`WINDOW`].
    arrivals: VecDeque<Instant>,
}

const WINDOW: Duration = Duration::from_secs(5);

/// All cameras, written by the subscriber.
#[derive(Clone, Default)]
pub struct Table(Arc<Mutex<BTreeMap<String, Camera>>>);

impl Table {
    /// Watches the live lane. Messages are looked at, not kept.
    pub fn subscribe(&self, hub: &Hub) -> Result<Observer> {
        let table = self.clone();
        let url = format!("mqtt://{}", hub.mqtt()?);
        Observer::with(&url, &["sightline/live/#"], &Login::default(), move |message| {
            table.look(message);
            false
        })
    }

    fn look(&self, message: &Message) {
        let mut cameras = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let json = message.json();
        match Topic::parse(contract::topic::DEFAULT_PREFIX, &message.topic) {
            Some(Topic::CameraStatus(_, camera)) => {
                let status = json["reason"].as_str().or(json["status"].as_str()).map(str::to_owned);
                cameras.entry(camera.to_string()).or_default().status = status;
            }
            Some(Topic::Prediction(_, camera, _)) => {
                let camera = cameras.entry(camera.to_string()).or_default();
                camera.label = json["labels"][0].as_str().unwrap_or_default().to_owned();
                camera.score = json["scores"][0].as_f64().unwrap_or_default();
                camera.total_us = json["latency"]["total_us"].as_u64().unwrap_or_default();
                camera.arrivals.push_back(Instant::now());
            }
            _ => {}
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut cameras = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = vec![line("camera", "status", "fps", "score", "latency", "label")];
        for (name, _) in CAMERAS {
            let camera = cameras.entry(name.to_owned()).or_default();
            while camera.arrivals.front().is_some_and(|at| at.elapsed() > WINDOW) {
                camera.arrivals.pop_front();
            }
            let fps = format!("{:.1}", camera.arrivals.len() as f64 / WINDOW.as_secs_f64());
            let status = camera.status.as_deref().unwrap_or("starting");
            let (score, latency) = (format!("{:.2}", camera.score), format!("{:.1} ms", camera.total_us as f64 / 1e3));
            lines.push(line(name, status, &fps, &score, &latency, &camera.label));
        }
        lines
    }
}

fn line(camera: &str, status: &str, fps: &str, score: &str, latency: &str, label: &str) -> String {
    let cut = |text: &str, longest: usize| text.chars().take(longest).collect::<String>();
    format!("  {camera:<10} {:<10} {fps:>5} {score:>6} {latency:>10}  {}", cut(status, 10), cut(label, 32))
}

/// Where the table is shown: in place on a terminal, else as lines now and then.
pub struct Screen {
    terminal: bool,
    drawn: usize,
}

impl Screen {
    /// Of stdout.
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), drawn: 0 }
    }

    /// How often it is drawn.
    pub fn period(&self) -> Duration {
        Duration::from_secs(if self.terminal { 1 } else { 5 })
    }

    /// Draws it.
    pub fn show(&mut self, table: &Table) {
        let lines = table.lines();
        if self.terminal && self.drawn > 0 {
            print!("\x1b[{}A", self.drawn);
        }
        let clear = if self.terminal { "\x1b[K" } else { "" };
        lines.iter().for_each(|line| println!("{line}{clear}"));
        self.drawn = lines.len();
        let _ = std::io::stdout().flush(); // a reader that went away is noticed at the next line
    }

    /// Leaves a line between the table and what follows.
    pub fn leave(&self) {
        println!();
    }
}
