//! Where the runtime's library is: the places that are looked at, in order, and what to do when it is in none.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

/// The environment variable that names the library's file, as everywhere with `ort`.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Where the set-up puts the library, relative to the repository.
const SET_UP: &str = ".sightline/lib/libonnxruntime.so";
/// Where a package or an administrator puts it.
const INSTALLED: [&str; 2] = ["/usr/lib/sightline/libonnxruntime.so", "/usr/local/lib/libonnxruntime.so"];

/// The library's file, or the files that were looked for.
pub fn find(option: Option<&Path>) -> Result<PathBuf, Searched> {
    let variable = env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    // Who names a file wants that one: falling back to another would hide the mistake.
    for (named_by, path) in [("the configuration", option.map(Path::to_owned)), (LIBRARY_VARIABLE, variable)] {
        if let Some(path) = path {
            let named = Searched { named_by: Some(named_by), tried: vec![path.clone()] };
            return if path.is_file() { Ok(path) } else { Err(named) };
        }
    }
    let tried = usual_places();
    match tried.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(Searched { named_by: None, tried }),
    }
}

/// The set-up's folder in the working directory or the program's folder or above them; then the system's places.
fn usual_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    let program = env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("libonnxruntime.so"));
    let starts = [env::current_dir().ok(), program];
    let above = starts.iter().flatten().flat_map(|start| start.ancestors()).map(|folder| folder.join(SET_UP));
    for place in above.chain(beside).chain(INSTALLED.map(PathBuf::from)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The library was in none of these places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Who named the file, when somebody did: the only place that was looked at.
    pub named_by: Option<&'static str>,
    /// The files that are not there.
    pub tried: Vec<PathBuf>,
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: Vec<String> = self.tried.iter().map(|path| format!("`{}`", path.display())).collect();
        match self.named_by {
            Some(who) => write!(
                f,
                "libonnxruntime is missing: {who} names {}, which is not a file; correct the path, or run `make setup` \
                 and remove it",
                tried.join(", ")
            ),
            None => write!(
                f,
                "libonnxruntime is missing: looked for {}; run `make setup`, or name the file by {LIBRARY_VARIABLE}",
                tried.join(", ")
            ),
        }
    }
}

impl std::error::Error for Searched {}
