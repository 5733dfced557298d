//! The runtime itself, loaded once a process.
//!
//! `ort` keeps the library and its environment in process-wide cells and panics when it is used without them, so this
//! is the only place that loads it: a failure leaves the cells empty and may be tried again, a success lasts.

use std::{
    ffi::{CStr, CString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use inference::Refusal;
use ort::{environment::Environment, logging::LogLevel};

use crate::library;

/// The loaded runtime. A copy stays in [`LOADED`] for ever: `ort` cannot make a second environment in a process.
#[derive(Clone)]
pub struct Runtime {
    pub environment: Environment,
    pub version: String,
    pub library: PathBuf,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// The runtime, loaded from the file that `option`, the environment or the usual places give, unless it already is.
pub fn load(option: Option<&Path>) -> Result<Runtime, Refusal> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*loaded {
        warn_if_other(runtime, option);
        return Ok(runtime.clone());
    }
    let library = library::find(option).map_err(|searched| Refusal::new(searched.to_string()))?;
    // `ort` would take a relative path as relative to the program, not to the working directory.
    let library = library.canonicalize().unwrap_or(library);
    let runtime = open(&library)?;
    tracing::info!(library = %library.display(), version = runtime.version, "loaded ONNX Runtime");
    *loaded = Some(runtime.clone());
    Ok(runtime)
}

fn open(library: &Path) -> Result<Runtime, Refusal> {
    let file = library.display();
    let builder = ort::init_from(library).map_err(|error| refuse(library, &error))?;
    let environment =
        builder.with_name("sightline").with_telemetry(false).with_logger(Arc::new(log)).build().map_err(|error| {
            Refusal::caused(format!("start ONNX Runtime from `{file}`; run `make setup` to fetch a good one"), error)
        })?;
    // With a logger of our own it begins at "verbose", and would call it for every operator.
    environment.set_log_level(LogLevel::Warning);
    Ok(Runtime { environment, version: version(library), library: library.to_owned() })
}

/// What the runtime would print on stderr, among our own lines. Its errors come back to us as well, and are logged
/// by who handles them: so all of it is for whoever looks closely.
fn log(level: LogLevel, _category: &str, _id: &str, at: &str, message: &str) {
    tracing::debug!(?level, at, message, "ONNX Runtime says");
}

fn refuse(library: &Path, error: &ort::LoadDynamicError) -> Refusal {
    let file = library.display();
    Refusal::new(match error {
        ort::LoadDynamicError::Dlopen { error, .. } => {
            format!("`{file}` is not a library that can be loaded here ({error}); run `make setup` to fetch a good one")
        }
        ort::LoadDynamicError::MissingApi { .. } => {
            format!("`{file}` is a library, but not ONNX Runtime (it has no `OrtGetApiBase`); name the right file")
        }
        ort::LoadDynamicError::BadVersion { version_str, .. } => format!(
            "`{file}` is ONNX Runtime {version_str}, 1.{} or newer is needed; run `make setup` to fetch one",
            ort::MINOR_VERSION
        ),
        ort::LoadDynamicError::InvalidVersionString => {
            format!("`{file}` tells no readable version; run `make setup` to fetch a good one")
        }
    })
}

/// The runtime's version, as in `1.31.1`; from its build information should the library tell none.
fn version(library: &Path) -> String {
    version_string(library).unwrap_or_else(|| ort::info().split(',').next().unwrap_or_default().to_owned())
}

/// `OrtApiBase::GetVersionString` of the library that `ort` has loaded: `ort` itself does not pass it on.
fn version_string(library: &Path) -> Option<String> {
    let path = CString::new(library.as_os_str().as_bytes()).ok()?;
    // SAFETY: `path` is a C string; RTLD_NOLOAD only finds what is loaded and runs no code. The handle is never
    // closed, as `ort` never closes its own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_NOW) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is not null, the name is a C string.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: ONNX Runtime documents `OrtGetApiBase` with this signature; `ort::init_from` has just called it so.
    let get_base: unsafe extern "C" fn() -> *const ort::sys::OrtApiBase = unsafe { std::mem::transmute(symbol) };
    // SAFETY: it takes nothing and returns a pointer to a static table, or null.
    let base = unsafe { get_base().as_ref() }?;
    // SAFETY: the table's first two entries never change; the text is static and ends with 0.
    let text = unsafe { CStr::from_ptr((base.GetVersionString)().cast()) };
    text.to_str().ok().map(str::to_owned)
}

fn warn_if_other(runtime: &Runtime, option: Option<&Path>) {
    if let Some(wanted) = option
        && wanted.canonicalize().ok().as_deref() != Some(&runtime.library)
    {
        tracing::warn!(
            loaded = %runtime.library.display(), wanted = %wanted.display(),
            "ONNX Runtime is already loaded from another file; a process can load only one"
        );
    }
}
