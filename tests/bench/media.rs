//! The benchmark's videos: vtest.mp4 enlarged to 1080p, in four orientations so that no two files are alike.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Frames in each file.
pub const FRAMES: u64 = 300;

/// Makes the files once; their paths.
pub fn four_1080p(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join(".sightline/bench");
    fs::create_dir_all(&folder)?;
    ["none", "horizontal-flip", "rotate-180", "vertical-flip"].iter().map(|way| one(root, &folder, way)).collect()
}

fn one(root: &Path, folder: &Path, way: &str) -> Result<PathBuf> {
    let path = folder.join(format!("1080p-{way}.mp4"));
    if path.exists() {
        return Ok(path);
    }
    eprintln!("making {} …", path.display());
    let source = root.join(".sightline/media/vtest.mp4");
    ensure!(source.exists(), "{} is absent: run `make setup`", source.display());
    let part = path.with_extension("part");
    let line = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! identity eos-after={} ! videoconvert ! videoflip method={way} ! \
         videoscale ! video/x-raw,width=1920,height=1080,format=I420 ! x264enc speed-preset=veryfast bitrate=4000 key-int-max=50 ! \
         h264parse ! mp4mux ! filesink location={}",
        source.display(),
        FRAMES + 1,
        part.display()
    );
    let status = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(line.split_whitespace())
        .status()
        .context("start gst-launch-1.0")?;
    ensure!(status.success(), "gst-launch-1.0 could not make {}", path.display());
    fs::rename(&part, &path)?;
    Ok(path)
}
