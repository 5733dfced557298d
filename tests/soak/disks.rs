//! Disks that can be made full while programs write to them, and have room again: a small file system for each part.
//!
//! The soak runs itself in a mount namespace of its own, so that the file systems outlive the programs that it kills and go
//! with it. The ways, in this order: a namespace as root; the same within a chroot; with a user namespace for everybody
//! else. Where all are forbidden, folders on a small tmpfs that is there already, filled up with ballast: then one full disk
//! is a full disk for all. There is no way past: where none works, the soak fails and says why.

use std::{
    ffi::CString,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::statvfs;

/// Says to the soak's second self how it gets its disks.
const HOW: &str = "SOAK_DISKS";
/// Makes the namespace, by what is allowed.
const NAMESPACES: [&[&str]; 3] = [
    &["--mount"],
    &["--mount", "--propagation", "unchanged"],
    &["--user", "--map-current-user", "--keep-caps", "--mount"],
];
/// Left on a full disk: one page, so that the beginning of a write still fits, and its end does not.
const LEFT: u64 = 4 << 10;
/// A tmpfs larger than this is not filled: others may live by it.
const FILLED_MAX: u64 = 128 << 20;

/// One part's disk.
pub struct Disk {
    folder: PathBuf,
    way: Way,
}

enum Way {
    /// Mounted for it alone, so many bytes.
    Own { bytes: u64 },
    /// What fills a file system that others use too.
    Shared { ballast: PathBuf },
}

/// Puts this program into a namespace where it may mount, unless it is there or there is none; returns in the end.
pub fn enter() -> Result<()> {
    if std::env::var_os(HOW).is_some() {
        return Ok(());
    }
    let me = std::env::current_exe().context("find this program")?;
    let within = |way: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(way).arg(&me).env(HOW, "own");
        command
    };
    for way in NAMESPACES {
        let mut probe = within(way);
        let tried = probe.arg("try-disks").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if tried.is_ok_and(|status| status.success()) {
            return Err(within(way).args(std::env::args_os().skip(1)).exec()).context("run unshare");
        }
    }
    Ok(())
}

/// Whether a file system can be mounted here.
pub fn try_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    mount(folder.path(), 1 << 20, 0)?;
    unmount(folder.path());
    Ok(())
}

impl Disk {
    /// A disk of so many bytes at `folder`, which is made; with the shared way, a folder elsewhere.
    pub fn new(folder: &Path, bytes: u64) -> Result<Self> {
        if std::env::var_os(HOW).is_some() {
            fs::create_dir_all(folder)?;
            mount(folder, bytes, 0).with_context(|| format!("mount a tmpfs at {}", folder.display()))?;
            return Ok(Self { folder: folder.to_owned(), way: Way::Own { bytes } });
        }
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("disk");
        let place = shared_tmpfs()?.join(format!("soak-{}", std::process::id()));
        fs::create_dir_all(place.join(name))?;
        Ok(Self { folder: place.join(name), way: Way::Shared { ballast: place.join(format!("{name}.ballast")) } })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves a few KiB.
    pub fn fill(&self) -> Result<()> {
        match &self.way {
            // Whoever writes meanwhile may need more than was measured a moment ago.
            Way::Own { .. } => {
                let shrunk = (0..20).find_map(|_| {
                    let used = self.used().ok()?;
                    mount(&self.folder, used + LEFT, libc::MS_REMOUNT).ok()
                });
                shrunk.with_context(|| format!("make {} as small as what is on it", self.folder.display()))
            }
            Way::Shared { ballast } => {
                let mut file = fs::File::create(ballast)?;
                let block = vec![1; 8 << 10];
                while self.free()? > LEFT {
                    match io::Write::write_all(&mut file, &block) {
                        Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                        result => result?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Gives the room back.
    pub fn relieve(&self) -> Result<()> {
        match &self.way {
            Way::Own { bytes } => mount(&self.folder, *bytes, libc::MS_REMOUNT),
            Way::Shared { ballast } => match fs::remove_file(ballast) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
        }
    }

    fn used(&self) -> Result<u64> {
        let facts = statvfs(&self.folder)?;
        Ok((facts.blocks() - facts.blocks_free()) * facts.fragment_size())
    }

    fn free(&self) -> Result<u64> {
        let facts = statvfs(&self.folder)?;
        Ok(facts.blocks_available() * facts.fragment_size())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        match &self.way {
            // Else the folder above could not be removed; the namespace would take it only at the program's end.
            Way::Own { .. } => unmount(&self.folder),
            Way::Shared { ballast } => {
                let _ = fs::remove_file(ballast);
                let _ = fs::remove_dir_all(&self.folder);
                let _ = self.folder.parent().map(fs::remove_dir); // the last one takes the common folder with it
            }
        }
    }
}

/// Mounts a tmpfs, or changes the size of one that is mounted.
fn mount(folder: &Path, bytes: u64, flags: libc::c_ulong) -> Result<()> {
    let text = |text: &str| CString::new(text).context("a path with a zero byte");
    let (source, kind) = (text("tmpfs")?, text("tmpfs")?);
    let target = text(folder.to_str().context("a path that is no text")?)?;
    let options = text(&format!("size={},mode=0755", bytes.next_multiple_of(4096)))?;
    // SAFETY: all five pointers are to zero-terminated strings that live until the call returns, and are only read.
    let done = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    ensure!(done == 0, "mount: {}", io::Error::last_os_error());
    Ok(())
}

/// Takes a mounted tmpfs away, as soon as nobody uses it any more.
fn unmount(folder: &Path) {
    if let Some(target) = folder.to_str().and_then(|text| CString::new(text).ok()) {
        // SAFETY: the pointer is to a zero-terminated string that lives until the call returns, and is only read.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A tmpfs that may be filled.
fn shared_tmpfs() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(place), Some("tmpfs")) = (words.next().map(PathBuf::from), words.next()) else { continue };
        let Ok(facts) = statvfs(&place) else { continue };
        let free = facts.blocks_available() * facts.fragment_size();
        let probe = place.join(format!("soak-{}", std::process::id()));
        if (FILLED_MAX / 4..=FILLED_MAX).contains(&free) && fs::create_dir_all(probe).is_ok() {
            return Ok(place);
        }
    }
    bail!(
        "disks that can be filled are needed: run as root with the right to mount, with user namespaces, or with a tmpfs of \
         32 to 128 MiB that may be filled (in a container: --cap-add SYS_ADMIN, or --shm-size 64m)"
    )
}
