//! A file system of a few KiB for one program, to be filled: in a mount namespace of the program's own.
//!
//! The ways, in this order: a namespace as root; the same within a chroot, whose root is no mount point; with a user
//! namespace for everybody else. Where all are forbidden (a container without rights), a small tmpfs that is there
//! already is filled up until so much is left. There is no way past: a test that cannot run fails and says why. The
//! standard library alone, since tests of other crates include this file.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// How a namespace is made, by what is allowed.
const NAMESPACES: [&[&str]; 3] =
    [&["--mount"], &["--mount", "--propagation", "unchanged"], &["--user", "--map-root-user", "--mount"]];
/// Mounts the file system, then becomes the program.
const MOUNT: &str = "mount -t tmpfs -o \"size=$1k\" tmpfs \"$0\" && shift && exec \"$@\"";
/// A tmpfs larger than this is not filled: others may live by it.
const FILLED_KIB_MAX: u64 = 128 << 10;

/// A small file system.
pub struct SmallDisk {
    folder: PathBuf,
    kib: u64,
    way: Way,
}

enum Way {
    Namespace(&'static [&'static str]),
    /// What fills the rest of a file system that was there; removed with this.
    Filled(PathBuf),
}

impl SmallDisk {
    /// So many KiB for the program that [`SmallDisk::run`] starts, on `folder`, which must be there.
    pub fn new(folder: &Path, kib: u64) -> io::Result<Self> {
        let namespace = NAMESPACES.into_iter().find(|way| {
            let mut tried = namespace(way, folder, kib);
            tried.arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        match namespace {
            Some(way) => Ok(Self { folder: folder.to_owned(), kib, way: Way::Namespace(way) }),
            None => fill(kib),
        }
    }

    /// Where the program sees it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where we see it, while the program runs.
    pub fn seen_by(&self, pid: u32) -> PathBuf {
        match &self.way {
            Way::Namespace(_) => {
                let below = self.folder.strip_prefix("/").unwrap_or(&self.folder);
                Path::new("/proc").join(pid.to_string()).join("root").join(below)
            }
            Way::Filled(_) => self.folder.clone(),
        }
    }

    /// The command, run where the file system is.
    pub fn run(&self, command: &Command) -> Command {
        let mut wrapped = match &self.way {
            Way::Namespace(way) => {
                let mut wrapped = namespace(way, &self.folder, self.kib);
                wrapped.arg(command.get_program());
                wrapped
            }
            Way::Filled(_) => Command::new(command.get_program()),
        };
        wrapped.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped
    }
}

/// What was filled is given back.
impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Way::Filled(ballast) = &self.way {
            let _ = fs::remove_file(ballast).and_then(|()| fs::remove_dir_all(&self.folder));
        }
    }
}

fn namespace(way: &[&str], folder: &Path, kib: u64) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", MOUNT]).arg(folder).arg(kib.to_string());
    command
}

/// A folder on a tmpfs that has `kib` left once its ballast is there.
fn fill(kib: u64) -> io::Result<SmallDisk> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let tmpfs = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "tmpfs").then(|| PathBuf::from(place))
    });
    for place in tmpfs {
        let free = free_kib(&place).unwrap_or(0);
        let folder = place.join(format!("small-disk-{}", std::process::id()));
        if !(kib..=FILLED_KIB_MAX).contains(&free) || fs::create_dir(&folder).is_err() {
            continue;
        }
        let path = folder.join("ballast");
        let mut ballast = fs::File::create(&path)?;
        let block = vec![1; 1 << 10];
        for _ in 0..free - kib {
            ballast.write_all(&block)?;
        }
        return Ok(SmallDisk { folder, kib, way: Way::Filled(path) });
    }
    Err(io::Error::other(
        "a small file system is needed: as root with the right to mount, with user namespaces, or with a tmpfs of at most \
         128 MiB that may be filled (in a container: --cap-add SYS_ADMIN, or --shm-size 64m)",
    ))
}

/// What `df` says is left.
fn free_kib(place: &Path) -> Option<u64> {
    let output = Command::new("df").args([OsStr::new("-kP"), place.as_os_str()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().last()?.split_whitespace().nth(3)?.parse().ok()
}
