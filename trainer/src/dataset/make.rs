//! Makes a dataset of what was found.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{BufWriter, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use contract::{
    Digest,
    dataset::{CROISSANT, DatasetManifest, Deduplication, ITEMS, MANIFEST, Source, Split, SplitRule},
    model::{Color, Layout},
};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use vision::{Preprocessor, Rect, Spec};

use crate::picture::{Decoded, end, media_type};

use super::{
    Archived, Bytes, Error, Found, Input, Item, Place, croissant, dedupe, items, phash,
    split::{Shares, by_groups, stratified},
    tar::{Counted, add},
};

/// A shard is closed when it has so many bytes.
const SHARD_BYTES: u64 = 256 << 20;

/// How a dataset is made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its name, for people.
    pub name: String,
    /// What the pictures were found in.
    pub source: Source,
    /// Class names in their order; else those that are found, sorted.
    pub classes: Option<Vec<Arc<str>>>,
    /// Bits in which near-identical pictures may differ; `None` keeps all.
    pub threshold: Option<u32>,
    /// Shares of train, validation and test, where the source does not say.
    pub shares: Shares,
    /// Share of given training items that becomes validation, where the source has none.
    pub validation: f64,
    /// What groups are called in the manifest.
    pub grouped_by: String,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// A picture that cannot be used ends it.
    pub strict: bool,
    /// SPDX licence expression of the pictures.
    pub licence: Option<String>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The dataset's hash.
    pub digest: Digest,
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: DatasetManifest,
    /// Pictures that could not be used, the first few, with reasons.
    pub corrupt: Vec<(String, String)>,
    /// Near-identical pictures that lie in different splits: the first few, by name, and how many there are.
    pub leaks: (Vec<(String, String)>, usize),
}

/// Facts of a picture.
struct Seen {
    found: Found,
    sha256: Digest,
    phash: u64,
    size: [u32; 2],
    media_type: &'static str,
}

/// Makes a dataset below `out`, in a folder named by its hash; one that is there already is left as it is.
///
/// # Errors
/// Pictures or classes that make no dataset, or a disk that does not let us.
pub fn make(found: Vec<Found>, order: &Order, out: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<Made, Error> {
    let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
    let before = found.len();
    let labelled: Vec<Found> = found.into_iter().filter(|one| one.class.is_some()).collect();
    left(&mut left_out, "unlabelled", before - labelled.len());
    let (seen, corrupt) = look(labelled, progress);
    if order.strict && !corrupt.is_empty() {
        let some = corrupt.iter().take(10).map(|(name, why)| format!("`{name}` ({why})")).collect();
        return Err(Error::Corrupt { count: corrupt.len(), some });
    }
    left(&mut left_out, "corrupt", corrupt.len());
    let before = seen.len();
    let mut seen = agreeing(seen);
    left(&mut left_out, "conflicting_label", before - seen.len());
    seen.sort_by(|a, b| (held_first(a), &a.sha256.0, &a.found.name).cmp(&(held_first(b), &b.sha256.0, &b.found.name)));
    let before = seen.len();
    let seen = deduplicated(seen, order.threshold);
    left(&mut left_out, "duplicate", before - seen.len());
    let classes = classes(&seen, order)?;
    let (splits, rule) = shared_out(&seen, order);
    let leaks = leaks(&seen, &splits, order.threshold);
    let items = arranged(&seen, &splits, &classes);
    check(&items, &classes)?;
    let manifest = DatasetManifest {
        schema: contract::SCHEMA,
        name: order.name.clone(),
        files: BTreeMap::new(),
        counts: counts(&items, classes.len()),
        classes,
        source: order.source.clone(),
        split: rule,
        deduplication: Deduplication { threshold: order.threshold },
        left_out,
        licence: order.licence.clone(),
    };
    let (folder, digest, manifest) = write(manifest, items, &seen, out, progress)?;
    Ok(Made { digest, folder, manifest, corrupt: corrupt.into_iter().take(10).collect(), leaks })
}

fn left(out: &mut BTreeMap<String, u64>, why: &str, count: usize) {
    if count > 0 {
        out.insert(why.into(), count as u64);
    }
}

/// Decodes every picture once; those that cannot be are told apart.
fn look(found: Vec<Found>, progress: &(dyn Fn(u64) + Sync)) -> (Vec<Seen>, Vec<(String, String)>) {
    let spec = Spec { width: phash::SIDE as u32, height: phash::SIDE as u32, color: Color::Gray, layout: Layout::Nhwc };
    let looked: Vec<Result<Seen, (String, String)>> = found
        .into_par_iter()
        .map_init(
            || Preprocessor::new(spec),
            |preprocessor, found| {
                progress(1);
                let mut facts = || {
                    let bytes = found.bytes.read().map_err(|error| error.to_string())?;
                    let picture = Decoded::read(&bytes)?;
                    let mut luma = [0u8; phash::SIDE * phash::SIDE];
                    let (view, region) = picture.part(found.region)?;
                    preprocessor.run(&view, region, &mut luma).map_err(|error| error.to_string())?;
                    let size = [view.width(), view.height()];
                    let media_type = media_type(&bytes);
                    Ok((Digest(Sha256::digest(&bytes).into()), phash::phash(&luma), size, media_type))
                };
                match facts() {
                    Ok((sha256, phash, size, media_type)) => Ok(Seen { found, sha256, phash, size, media_type }),
                    Err(why) => Err((found.name, why)),
                }
            },
        )
        .collect();
    let (mut seen, mut corrupt) = (Vec::new(), Vec::new());
    for one in looked {
        match one {
            Ok(one) => seen.push(one),
            Err(one) => corrupt.push(one),
        }
    }
    (seen, corrupt)
}

/// Without pictures that stand under several classes: nobody knows which is right.
fn agreeing(seen: Vec<Seen>) -> Vec<Seen> {
    let shown = |one: &Seen| (one.sha256, one.found.region.map(|Rect { x, y, width, height }| [x, y, width, height]));
    let mut classes: HashMap<_, BTreeSet<String>> = HashMap::new();
    for one in &seen {
        classes.entry(shown(one)).or_default().extend(one.found.class.clone());
    }
    seen.into_iter().filter(|one| classes[&shown(one)].len() == 1).collect()
}

/// Held-out pictures come first, so that of two near-identical ones the training one is dropped.
fn held_first(one: &Seen) -> u8 {
    match one.found.split {
        Some(Split::Test) => 0,
        Some(Split::Validation) => 1,
        _ => 2,
    }
}

fn deduplicated(seen: Vec<Seen>, threshold: Option<u32>) -> Vec<Seen> {
    let Some(threshold) = threshold else { return seen };
    let hashes: Vec<u64> = seen.iter().map(|one| one.phash).collect();
    let near = dedupe::near(&hashes, threshold);
    seen.into_iter().zip(near).filter(|(_, near)| near.is_none()).map(|(one, _)| one).collect()
}

fn classes(seen: &[Seen], order: &Order) -> Result<Vec<Arc<str>>, Error> {
    let found: BTreeSet<&str> = seen.iter().filter_map(|one| one.found.class.as_deref()).collect();
    let Some(named) = &order.classes else { return Ok(found.into_iter().map(Arc::from).collect()) };
    let unknown = found.iter().find(|class| !named.iter().any(|name| &**name == **class));
    match unknown {
        Some(class) => Err(Error::Classes(format!(
            "class `{class}` is not among the names that were given: add it, or correct it"
        ))),
        None => Ok(named.clone()),
    }
}

fn shared_out(seen: &[Seen], order: &Order) -> (Vec<Split>, SplitRule) {
    let Order { shares, seed, validation, .. } = *order;
    let ids: Vec<String> = seen.iter().map(|one| one.sha256.to_string() + &one.found.name).collect();
    let numbers = numbers(seen);
    let pick = |at: &[usize]| -> (Vec<&str>, Vec<u16>) {
        (at.iter().map(|at| &*ids[*at]).collect(), at.iter().map(|at| numbers[*at]).collect())
    };
    if seen.iter().all(|one| one.found.split.is_some()) {
        let mut splits: Vec<Split> = seen.iter().map(|one| one.found.split.unwrap_or(Split::Train)).collect();
        if splits.contains(&Split::Validation) {
            return (splits, SplitRule::Given { validation: 0.0, seed });
        }
        let train: Vec<usize> = (0..seen.len()).filter(|at| splits[*at] == Split::Train).collect();
        let (ids, classes) = pick(&train);
        let drawn = stratified(&ids, &classes, [1.0 - validation, validation, 0.0], seed);
        train.iter().zip(drawn).for_each(|(at, split)| splits[*at] = split);
        return (splits, SplitRule::Given { validation, seed });
    }
    if seen.iter().all(|one| one.found.group.is_some()) {
        let groups: Vec<&str> = seen.iter().map(|one| one.found.group.as_deref().unwrap_or_default()).collect();
        let rule = SplitRule::Groups { by: order.grouped_by.clone(), shares, seed };
        return (by_groups(&groups, shares, seed), rule);
    }
    let (ids, classes) = pick(&(0..seen.len()).collect::<Vec<_>>());
    (stratified(&ids, &classes, shares, seed), SplitRule::Stratified { shares, seed })
}

/// Classes as numbers, for sharing out alone.
fn numbers(seen: &[Seen]) -> Vec<u16> {
    let names: BTreeSet<&str> = seen.iter().filter_map(|one| one.found.class.as_deref()).collect();
    let of: HashMap<&str, u16> = names.into_iter().zip(0..).collect();
    seen.iter().map(|one| one.found.class.as_deref().and_then(|class| of.get(class)).copied().unwrap_or(0)).collect()
}

/// Near-identical pictures in different splits.
fn leaks(seen: &[Seen], splits: &[Split], threshold: Option<u32>) -> (Vec<(String, String)>, usize) {
    let hashes: Vec<u64> = seen.iter().map(|one| one.phash).collect();
    let near = dedupe::near(&hashes, threshold.unwrap_or(0));
    let torn = near.iter().enumerate().filter_map(|(at, near)| near.map(|near| (near, at)));
    let torn: Vec<_> = torn.filter(|(a, b)| splits[*a] != splits[*b]).collect();
    let name = |at: usize| format!("{} ({})", seen[at].found.name, splits[at]);
    (torn.iter().take(10).map(|(a, b)| (name(*a), name(*b))).collect(), torn.len())
}

/// Rows in the order of their ids, each with its place in `seen`.
fn arranged(seen: &[Seen], splits: &[Split], classes: &[Arc<str>]) -> Vec<(Item, usize)> {
    let of: HashMap<&str, u16> = classes.iter().map(|name| &**name).zip(0..).collect();
    let mut times: HashMap<Digest, usize> = HashMap::new();
    let mut all: Vec<(Item, usize)> = Vec::with_capacity(seen.len());
    for (at, (one, split)) in seen.iter().zip(splits).enumerate() {
        let time = times.entry(one.sha256).or_default();
        *time += 1;
        let plain = &one.sha256.to_string()[7..39]; // behind `sha256:`, half of it: 128 bits
        let id = match &one.found.archived {
            Some(Archived { id, .. }) => id.clone(),
            None if *time == 1 => plain.to_owned(),
            None => format!("{plain}-{time}"),
        };
        let item = Item {
            class: one.found.class.as_deref().and_then(|class| of.get(class)).copied().unwrap_or(0),
            split: *split,
            group: one.found.group.clone().unwrap_or_else(|| id.clone()),
            place: Place { shard: String::new(), offset: 0, length: 0 },
            region: one.found.region,
            sha256: one.sha256,
            media_type: one.media_type.into(),
            width: one.size[0],
            height: one.size[1],
            phash: one.phash,
            camera: one.found.taken.as_ref().map(|(camera, _)| camera.clone()),
            captured_at: one.found.taken.as_ref().map(|(_, at)| *at),
            input: None,
            id,
        };
        all.push((item, at));
    }
    all.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    all
}

fn counts(items: &[(Item, usize)], classes: usize) -> BTreeMap<Split, Vec<u64>> {
    let mut counts: BTreeMap<Split, Vec<u64>> = Split::ALL.into_iter().map(|split| (split, vec![0; classes])).collect();
    for (item, _) in items {
        if let Some(counts) = counts.get_mut(&item.split) {
            counts[usize::from(item.class)] += 1;
        }
    }
    counts
}

/// What makes no dataset.
fn check(items: &[(Item, usize)], classes: &[Arc<str>]) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::Classes(why));
    if items.is_empty() {
        return wrong("no picture with a class is left: label some".into());
    }
    if classes.len() < 2 {
        return wrong(format!(
            "there is one class alone, `{}`: nothing can be told apart; label a second one",
            classes[0]
        ));
    }
    let counts = counts(items, classes.len());
    for (at, class) in classes.iter().enumerate() {
        let of = |split: Split| counts[&split][at];
        if Split::ALL.into_iter().all(|split| of(split) == 0) {
            return wrong(format!("class `{class}` has no picture: label some, or leave it out"));
        }
        if of(Split::Train) == 0 {
            let held = if of(Split::Test) > 0 { Split::Test } else { Split::Validation };
            return wrong(format!(
                "class `{class}` is in {held} and not in train: it cannot be learnt; share out otherwise"
            ));
        }
    }
    Ok(())
}

/// Writes the folder under another name, then names it by its hash.
fn write(
    mut manifest: DatasetManifest,
    mut items: Vec<(Item, usize)>,
    seen: &[Seen],
    out: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(PathBuf, Digest, DatasetManifest), Error> {
    fs::create_dir_all(out).map_err(Error::io("write", out))?;
    let scratch = tempfile::Builder::new().prefix(".making-").tempdir_in(out).map_err(Error::io("write", out))?;
    let shards = shards(&mut items, seen, scratch.path(), progress)?;
    let rows: Vec<Item> = items.into_iter().map(|(item, _)| item).collect();
    let table = items::write(&rows).map_err(|error| Error::io("write", out)(std::io::Error::other(error)))?;
    manifest.files = shards;
    manifest.files.insert(ITEMS.into(), Digest(Sha256::digest(&table).into()));
    let described = croissant::describe(&manifest);
    manifest.files.insert(CROISSANT.into(), Digest(Sha256::digest(&described).into()));
    let document = serde_json::to_vec_pretty(&manifest).unwrap_or_default(); // text keys alone
    let digest = Digest(Sha256::digest(&document).into());
    for (name, bytes) in [(ITEMS, &table), (CROISSANT, &described), (MANIFEST, &document)] {
        let path = scratch.path().join(name);
        crate::train::checkpoint::replace(&path, bytes).map_err(Error::io("write", path))?;
    }
    let folder = out.join(hash_name(digest));
    if !folder.exists() {
        fs::rename(scratch.keep(), &folder).map_err(Error::io("write", &folder))?;
        File::open(out).and_then(|out| out.sync_all()).map_err(Error::io("write", out))?;
    }
    Ok((folder, digest, manifest))
}

/// The name of a dataset's folder.
pub fn hash_name(digest: Digest) -> String {
    digest.to_string().replace("sha256:", "")
}

/// Writes pictures and inputs in the order of their items; gives the shards' digests.
fn shards(
    items: &mut [(Item, usize)],
    seen: &[Seen],
    folder: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<BTreeMap<String, Digest>, Error> {
    let mut open: Option<(String, ::tar::Builder<Counted<BufWriter<File>>>)> = None;
    let mut names = Vec::new();
    for (item, at) in items {
        let found = &seen[*at].found;
        let bytes = bytes(&found.bytes, &found.name, item.sha256)?;
        let (name, builder) = match &mut open {
            Some(open) => open,
            None => {
                let name = format!("pictures-{:05}.tar", names.len());
                let path = folder.join(&name);
                let file = File::create(&path).map_err(Error::io("write", path))?;
                names.push(name.clone());
                open.insert((name, ::tar::Builder::new(Counted::new(BufWriter::new(file)))))
            }
        };
        let end = end(&item.media_type);
        let path = folder.join(&*name);
        let offset = add(builder, &format!("{}.{end}", item.id), &bytes).map_err(Error::io("write", &path))?;
        item.place = Place { shard: name.clone(), offset, length: bytes.len() as u64 };
        if let Some((bytes, form)) = found.archived.as_ref().and_then(|archived| archived.input.as_ref()) {
            let bytes = bytes.read().map_err(Error::io("read", &found.name))?;
            let offset = add(builder, &format!("{}.u8", item.id), &bytes).map_err(Error::io("write", &path))?;
            item.input = Some(Input {
                place: Place { shard: name.clone(), offset, length: bytes.len() as u64 },
                sha256: Digest(Sha256::digest(&bytes).into()),
                form: serde_json::to_string(form).unwrap_or_default(), // numbers and names
            });
        }
        progress(1);
        if builder.get_ref().written >= SHARD_BYTES {
            close(open.take(), folder)?;
        }
    }
    close(open, folder)?;
    names.into_iter().map(|name| Ok((name.clone(), digest(&folder.join(&name))?))).collect()
}

fn close(open: Option<(String, ::tar::Builder<Counted<BufWriter<File>>>)>, folder: &Path) -> Result<(), Error> {
    let Some((name, builder)) = open else { return Ok(()) };
    let end = || builder.into_inner()?.into_inner().into_inner().map_err(std::io::Error::from)?.sync_all();
    end().map_err(Error::io("write", folder.join(name)))
}

/// The picture again; one that changed meanwhile would make a wrong dataset.
fn bytes(of: &Bytes, name: &str, sha256: Digest) -> Result<Vec<u8>, Error> {
    let bytes = of.read().map_err(Error::io("read", name))?;
    let found = Digest(Sha256::digest(&bytes).into());
    if found == sha256 {
        Ok(bytes)
    } else {
        Err(Error::Changed { path: name.into(), why: "it changed while it was read".into() })
    }
}

/// Of a file, piece by piece.
pub(super) fn digest(path: &Path) -> Result<Digest, Error> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut piece).map_err(Error::io("read", path))?;
        if n == 0 {
            return Ok(Digest(hasher.finalize().into()));
        }
        hasher.update(&piece[..n]);
    }
}
