//! What was made of the raw data, kept beside it in the lake: tensors below `derived/tensors/<dataset>/<form>/`. The hub's upkeep
//! leaves these objects alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use contract::Digest;
use store::objects::{ErrorKind, PutOptions};

use super::{Error, Hub};
use crate::{
    dataset::make::hash_name,
    tensors::{Form, INDEX},
    train::checkpoint::replace,
};

/// Below which key a dataset's tensors of a form lie.
pub fn prefix(dataset: Digest, form: Form) -> String {
    format!("derived/tensors/{}/{}/", hash_name(dataset), form.name())
}

/// Copies complete tensors out of the lake into a folder, the index last; whether there were any.
///
/// # Errors
/// The store, or the disk.
pub async fn bring(hub: &Hub, prefix: &str, folder: &Path) -> Result<bool, Error> {
    let index = match hub.objects.get(&format!("{prefix}{INDEX}")).await {
        Ok(index) => index,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let io = |path: PathBuf| move |source| Error::Io { what: "write", path, source };
    fs::create_dir_all(folder).map_err(io(folder.into()))?;
    for entry in hub.objects.list(prefix).all().await? {
        let name = entry.key.strip_prefix(prefix).unwrap_or(&entry.key);
        // A key of somebody else's making must not lead out of the folder.
        if name != INDEX && !name.contains('/') {
            hub.objects.get_file(&entry.key, &folder.join(name)).await?;
        }
    }
    let path = folder.join(INDEX);
    replace(&path, &index).map_err(io(path.clone()))?;
    Ok(true)
}

/// Copies complete tensors into the lake, the index last; how many objects were put. What is there is not put again.
///
/// # Errors
/// The store, or the disk.
pub async fn keep(hub: &Hub, prefix: &str, folder: &Path) -> Result<usize, Error> {
    let there: Vec<String> = hub.objects.list(prefix).all().await?.into_iter().map(|entry| entry.key).collect();
    let read = fs::read_dir(folder).map_err(|source| Error::Io { what: "read", path: folder.into(), source })?;
    let mut files: Vec<PathBuf> = read.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    files.retain(|path| {
        let name = name(path);
        name == INDEX || name == "job.json" || name.starts_with("shard-")
    });
    files.sort_by_key(|path| (name(path) == INDEX, name(path)));
    let mut put = 0;
    for path in files {
        let key = format!("{prefix}{}", name(&path));
        if !there.contains(&key) {
            hub.objects.put_file(&key, &path, PutOptions::default()).await?;
            put += 1;
        }
    }
    Ok(put)
}
