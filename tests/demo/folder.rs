//! A fresh state folder for each run, and the removal of those of earlier runs that have ended.

use std::{fs, path::PathBuf, time::SystemTime};

use anyhow::{Context, Result};
use world::runtime::root;

/// `.sightline/demo/<seconds>-<pid>`, made.
pub fn fresh() -> Result<PathBuf> {
    let all = root().join(".sightline/demo");
    fs::create_dir_all(&all).with_context(|| format!("make {}", all.display()))?;
    remove_ended(&all);
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let mine = all.join(format!("{seconds}-{}", std::process::id()));
    fs::create_dir(&mine).with_context(|| format!("make {}", mine.display()))?;
    Ok(mine)
}

fn remove_ended(all: &std::path::Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.split_once('-')).and_then(|(_, pid)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path()); // a leftover costs disk, nothing else
        }
    }
}
