//! `folder:` pictures, in the order of their names: once, over and over, or what is there and then what comes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{Failure, Plan, Play, Stop, picture::Picture, pipeline::readable, supervisor::Outcome};
use crate::{
    clock::micros,
    intake::{Arrival, Flow, Intake},
};

/// How often a watched folder is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Plays the folder.
pub fn run(plan: &Plan, folder: &Path, intake: &Arc<Mutex<Intake>>, stop: &Stop) -> Outcome {
    if let Err(failure) = readable("folder", folder) {
        return Outcome::Failed(failure);
    }
    let mut player = Player { plan, intake, stop, shown: 0 };
    match plan.play {
        Play::Watch => player.watch(folder),
        Play::Once | Play::Fast => player.once(folder),
        Play::Loop => player.again(folder),
    }
}

struct Player<'a> {
    plan: &'a Plan,
    intake: &'a Arc<Mutex<Intake>>,
    stop: &'a Stop,
    shown: u64,
}

/// A file as it was when we looked: another size or time is another picture.
type Seen = BTreeMap<PathBuf, (u64, SystemTime)>;

impl Player<'_> {
    fn once(&mut self, folder: &Path) -> Outcome {
        let pictures = match look(folder) {
            Ok(pictures) => pictures,
            Err(failure) => return Outcome::Failed(failure),
        };
        for path in pictures.keys() {
            let wait = if self.plan.play == Play::Fast { Duration::ZERO } else { self.plan.interval };
            if self.show(path) == Flow::Stop || self.stop.sleep(wait) {
                return Outcome::Stopped;
            }
        }
        if self.shown == 0 { Outcome::Failed(self.empty(folder)) } else { Outcome::Ended }
    }

    fn again(&mut self, folder: &Path) -> Outcome {
        loop {
            let before = self.shown;
            match self.once(folder) {
                Outcome::Ended if self.shown > before => {}
                Outcome::Ended => return Outcome::Failed(self.empty(folder)),
                other => return other,
            }
        }
    }

    fn watch(&mut self, folder: &Path) -> Outcome {
        let (mut done, mut before) = (Seen::new(), Seen::new());
        let mut first = true;
        loop {
            let now = match look(folder) {
                Ok(now) => now,
                Err(failure) => return Outcome::Failed(failure),
            };
            // What is still being written changes between two looks; what was there at the start is taken as whole.
            let whole = now.iter().filter(|(path, facts)| first || before.get(*path) == Some(*facts));
            let due: Vec<_> = whole.filter(|(path, facts)| done.get(*path) != Some(*facts)).collect();
            for (path, facts) in due {
                if self.show(path) == Flow::Stop || self.stop.sleep(Duration::ZERO) {
                    return Outcome::Stopped;
                }
                done.insert(path.clone(), *facts);
            }
            done.retain(|path, _| now.contains_key(path));
            if first {
                self.intake.lock().unwrap_or_else(PoisonError::into_inner).camera().online();
            }
            (before, first) = (now, false);
            if self.stop.sleep(LOOK) {
                return Outcome::Stopped;
            }
        }
    }

    fn show(&mut self, path: &Path) -> Flow {
        let began = Instant::now();
        let picture = match decode(path) {
            Ok(picture) => picture,
            Err(error) => {
                tracing::warn!(camera = %self.plan.id, file = %path.display(), error, "picture is skipped");
                return Flow::Continue;
            }
        };
        self.shown += 1;
        let arrival = Arrival::now(micros(began.elapsed()));
        self.intake.lock().unwrap_or_else(PoisonError::into_inner).frame(&picture, arrival)
    }

    fn empty(&self, folder: &Path) -> Failure {
        Failure::EmptyFolder(folder.display().to_string())
    }
}

fn decode(path: &Path) -> Result<Picture, String> {
    let limits = vision::Limits::default();
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > limits.max_bytes as u64 {
        return Err(format!("it is longer than {} bytes", limits.max_bytes));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let picture = vision::decode_picture(&bytes, &limits).map_err(|error| error.to_string())?;
    Ok(Picture::Decoded(Arc::new(picture)))
}

fn look(folder: &Path) -> Result<Seen, Failure> {
    let absent = |error: std::io::Error| Failure::Absent {
        what: "folder",
        path: folder.display().to_string(),
        why: error.to_string(),
    };
    let mut seen = Seen::new();
    for entry in std::fs::read_dir(folder).map_err(absent)? {
        let path = entry.map_err(absent)?.path();
        let facts = std::fs::metadata(&path).ok().filter(|facts| facts.is_file() && is_picture(&path));
        if let Some(facts) = facts {
            seen.insert(path, (facts.len(), facts.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        }
    }
    Ok(seen)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
}
