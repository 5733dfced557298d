//! TensorRT's two libraries: where they are looked for, and that they are of the version this program speaks.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use inference::Refusal;
use libloading::Library as Shared;
use trtx::trtx_sys::{get_tensorrt_major_version, get_tensorrt_minor_version};

#[cfg(not(feature = "enterprise"))]
use nvidia::Capability;
use nvidia::Device;

/// The environment variable that names the folder with TensorRT's libraries.
pub const FOLDER_VARIABLE: &str = "SIGHTLINE_TENSORRT";

/// Which TensorRT this program was built for, in names.
#[cfg(not(feature = "enterprise"))]
pub const PRODUCT: &str = "TensorRT-RTX";
/// Which TensorRT this program was built for, in names.
#[cfg(feature = "enterprise")]
pub const PRODUCT: &str = "TensorRT";

#[cfg(not(feature = "enterprise"))]
const NAMES: [&str; 2] = ["libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"];
#[cfg(feature = "enterprise")]
const NAMES: [&str; 2] = ["libnvinfer.so", "libnvonnxparser.so"];

/// Where the set-up puts them, relative to the repository.
const SET_UP: &str = ".sightline/lib/tensorrt";
/// Where a package or an administrator puts them.
const INSTALLED: [&str; 3] = ["/usr/lib/sightline/tensorrt", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib"];

/// Both libraries, opened. They stay so until the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The folder that they were found in.
    pub folder: PathBuf,
    /// The version, as in `1.7.1`.
    pub version: String,
}

/// The compute capabilities that TensorRT-RTX runs on, besides 12.0 and newer: what its runtime says when it refuses
/// (1.7.1, seen on an H100: it compiles for other GPUs there, and does not load its own plan).
#[cfg(not(feature = "enterprise"))]
const RUNS_ON: [Capability; 4] = [
    Capability { major: 7, minor: 5 },
    Capability { major: 8, minor: 0 },
    Capability { major: 8, minor: 6 },
    Capability { major: 8, minor: 9 },
];

impl Library {
    /// Whether it runs on this GPU: known before minutes are spent on a plan.
    ///
    /// # Errors
    /// Which GPUs it runs on, and what to use instead.
    #[cfg(not(feature = "enterprise"))]
    pub fn runs_on(&self, device: &Device) -> Result<(), Refusal> {
        let capability = device.capability;
        if capability.major >= 12 || RUNS_ON.contains(&capability) {
            return Ok(());
        }
        Err(Refusal::new(format!(
            "{PRODUCT} {} does not run on {} (compute capability {capability}), only on 7.5, 8.0, 8.6, 8.9, 12.0 and \
             newer; use `ort-cuda`, or a build with full TensorRT (feature `enterprise`)",
            self.version, device.name
        )))
    }

    /// Full TensorRT runs on every GPU that its major version still knows; its runtime says when it does not.
    ///
    /// # Errors
    /// None.
    #[cfg(feature = "enterprise")]
    pub fn runs_on(&self, _device: &Device) -> Result<(), Refusal> {
        Ok(())
    }
}

static OPENED: Mutex<Option<Library>> = Mutex::new(None);

/// Opens the libraries from the folder that `option`, the environment or the usual places give; once a process.
///
/// # Errors
/// Which file is missing or of another version, and what to do.
pub fn open(option: Option<&Path>) -> Result<Library, Refusal> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*opened {
        warn_if_other(library, option);
        return Ok(library.clone());
    }
    let [main, parser] = find(option).map_err(|searched| Refusal::new(searched.to_string()))?;
    let version = version(&main)?;
    let cannot = |file: &Path, error: trtx::Error| {
        Refusal::caused(format!("`{}` cannot be loaded; run `make setup` to fetch a good one", file.display()), error)
    };
    trtx::dynamically_load_tensorrt(Some(&main)).map_err(|error| cannot(&main, error))?;
    trtx::dynamically_load_tensorrt_onnxparser(Some(&parser)).map_err(|error| cannot(&parser, error))?;
    let folder = main.parent().unwrap_or(Path::new("/")).to_owned();
    tracing::info!(folder = %folder.display(), version, "loaded {PRODUCT}");
    let library = Library { folder, version };
    *opened = Some(library.clone());
    Ok(library)
}

/// The version that the library itself tells, if it is one that this program's bindings fit: before anything else is
/// called, since a library with another layout of its classes would run into the void.
fn version(file: &Path) -> Result<String, Refusal> {
    let refuse = |what: &str, error: libloading::Error| {
        Refusal::caused(format!("`{}` {what}; run `make setup` to fetch a good one", file.display()), error)
    };
    // SAFETY: TensorRT's initialisers register its plugins and touch nothing of ours.
    let library = unsafe { Shared::new(file) }.map_err(|error| refuse("cannot be loaded", error))?;
    // SAFETY: NvInferRuntime.h declares each of them as a function of no argument that gives an int32.
    let part = |name: &str| unsafe {
        let ask = library.get::<unsafe extern "C" fn() -> i32>(name);
        ask.map(|ask| ask()).map_err(|error| refuse("is not TensorRT", error))
    };
    let found = [part("getInferLibMajorVersion")?, part("getInferLibMinorVersion")?, part("getInferLibPatchVersion")?];
    let text = found.map(|n| n.to_string()).join(".");
    let wanted = wanted();
    // Minor versions add to the end of the classes; an older library lacks what the bindings may call.
    if found[0] == wanted[0] && found[1] >= wanted[1] {
        // Opened again in a moment, and for good: closing it in between would run its destructors for nothing.
        std::mem::forget(library);
        return Ok(text);
    }
    Err(Refusal::new(format!(
        "`{}` is {PRODUCT} {text}, {}.{} or newer of the same major version is needed; run `make setup` to fetch one",
        file.display(),
        wanted[0],
        wanted[1]
    )))
}

fn wanted() -> [i32; 2] {
    // SAFETY: both give a constant of the headers that the bindings were made of.
    let parts = unsafe { [get_tensorrt_major_version(), get_tensorrt_minor_version()] };
    parts.map(|part| i32::try_from(part).unwrap_or(i32::MAX))
}

fn warn_if_other(library: &Library, option: Option<&Path>) {
    if let Some(wanted) = option
        && wanted.canonicalize().ok() != library.folder.canonicalize().ok()
    {
        tracing::warn!(
            loaded = %library.folder.display(), wanted = %wanted.display(),
            "TensorRT is already loaded from another folder; a process can load only one"
        );
    }
}

/// Both files, or the places that were looked at.
fn find(option: Option<&Path>) -> Result<[PathBuf; 2], Searched> {
    let variable = env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    // Who names a folder wants that one: falling back to another would hide the mistake.
    for (named_by, folder) in [("the configuration", option.map(Path::to_owned)), (FOLDER_VARIABLE, variable)] {
        if let Some(folder) = folder {
            let searched = || Searched { named_by: Some(named_by), tried: vec![folder.clone()] };
            return in_folder(&folder).ok_or_else(searched);
        }
    }
    let tried = usual_places();
    tried.iter().find_map(|folder| in_folder(folder)).ok_or(Searched { named_by: None, tried })
}

/// The files under their plain names or with a version behind it.
fn in_folder(folder: &Path) -> Option<[PathBuf; 2]> {
    let files: Vec<PathBuf> = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let newest = |name: &str| {
        let named = |path: &&PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(name));
        files.iter().filter(named).max().cloned()
    };
    let [main, parser] = NAMES.map(newest);
    Some([main?, parser?])
}

/// The set-up's folder in the working directory or the program's folder or above them; then the system's places.
fn usual_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    let program = env::current_exe().ok();
    let starts = [env::current_dir().ok(), program];
    let above = starts.iter().flatten().flat_map(|start| start.ancestors()).map(|folder| folder.join(SET_UP));
    for place in above.chain(INSTALLED.map(PathBuf::from)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The libraries were in none of these places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Who named the folder, when somebody did: the only place that was looked at.
    pub named_by: Option<&'static str>,
    /// The folders that do not hold them.
    pub tried: Vec<PathBuf>,
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [main, parser] = NAMES;
        let tried: Vec<String> = self.tried.iter().map(|path| format!("`{}`", path.display())).collect();
        let tried = tried.join(", ");
        match self.named_by {
            Some(who) => write!(
                f,
                "{PRODUCT} is missing: {who} names the folder {tried}, which does not hold {main} and {parser}; \
                 correct the path, or run `make setup` and remove it"
            ),
            None => write!(
                f,
                "{PRODUCT} is missing: looked for {main} and {parser} in {tried}; run `make setup`, or name the folder \
                 by {FOLDER_VARIABLE}"
            ),
        }
    }
}

impl std::error::Error for Searched {}
