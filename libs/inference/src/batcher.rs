//! Decides what the engine runs next: a pure machine over pending requests, fair between cameras.
//!
//! Policy: *drop, newest wins*. Each source (a region of a camera, with its model) has one place; a newer request
//! takes the place of an older one that still waits, and the older one is given back and counted. So memory is bounded
//! by the number of sources, and what runs is never older than need be.
//!
//! Fairness: models take turns; within a model cameras take turns; within a camera its regions do. A camera with ten
//! regions, or one at 60 frames a second, cannot push another one out: see [`Batcher::take`] for the bound.

use std::time::{Duration, Instant};

use contract::{CameraId, RegionId};

/// Where requests come from: one region of one camera, and the model that looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Index of the model, as the caller numbers its loaded models.
    pub model: usize,
    /// The camera.
    pub camera: CameraId,
    /// The region of its picture.
    pub region: RegionId,
}

/// A source's place, from [`Batcher::add`]. Valid until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(usize);

/// A request that is due, with how long it waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// Whose it is.
    pub slot: Slot,
    /// What the caller offered.
    pub item: T,
    /// From offer to take.
    pub waited: Duration,
}

/// What happened at one source since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests offered.
    pub offered: u64,
    /// Requests given to the engine.
    pub taken: u64,
    /// Requests that a newer one replaced before their turn.
    pub replaced: u64,
}

struct Place<T> {
    source: Source,
    /// Index of the source's camera in [`Batcher::cameras`].
    camera: usize,
    pending: Option<(T, Instant)>,
    counts: Counts,
    /// The turn in which this source was last taken; the smallest goes first.
    last_turn: u64,
}

struct Model {
    max_batch: usize,
    /// The turn in which this model was last taken.
    last_turn: u64,
    /// The turn in which each camera was last taken for this model.
    camera_turns: Vec<u64>,
}

/// The machine. `T` is what the caller wants back when a request is due: the tensor and what belongs to it.
pub struct Batcher<T> {
    models: Vec<Model>,
    cameras: Vec<CameraId>,
    places: Vec<Option<Place<T>>>,
    turn: u64,
}

impl<T> Default for Batcher<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Batcher<T> {
    /// Without models and sources.
    pub fn new() -> Self {
        Self { models: Vec::new(), cameras: Vec::new(), places: Vec::new(), turn: 0 }
    }

    /// Adds a model and returns its index, for [`Source::model`]. `max_batch` is what its engine takes.
    pub fn add_model(&mut self, max_batch: usize) -> usize {
        let camera_turns = vec![0; self.cameras.len()];
        self.models.push(Model { max_batch: max_batch.max(1), last_turn: 0, camera_turns });
        self.models.len() - 1
    }

    /// Changes a model's largest batch, after its engine was exchanged.
    pub fn set_max_batch(&mut self, model: usize, max_batch: usize) {
        self.models[model].max_batch = max_batch.max(1);
    }

    /// Adds a source and returns its place. The model must have been added before.
    pub fn add(&mut self, source: Source) -> Slot {
        assert!(source.model < self.models.len(), "model {} was never added", source.model);
        let camera = self.camera(&source.camera);
        let place = Place { source, camera, pending: None, counts: Counts::default(), last_turn: 0 };
        match self.places.iter().position(Option::is_none) {
            Some(free) => {
                self.places[free] = Some(place);
                Slot(free)
            }
            None => {
                self.places.push(Some(place));
                Slot(self.places.len() - 1)
            }
        }
    }

    fn camera(&mut self, id: &CameraId) -> usize {
        if let Some(known) = self.cameras.iter().position(|camera| camera == id) {
            return known;
        }
        self.cameras.push(id.clone());
        for model in &mut self.models {
            model.camera_turns.push(0);
        }
        self.cameras.len() - 1
    }

    /// Removes a source; gives back what still waited there.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.places.get_mut(slot.0)?.take()?.pending.map(|(item, _)| item)
    }

    /// Puts a request in its source's place. A request that still waited there is given back: it will not run.
    ///
    /// An offer to a removed source is given back at once.
    pub fn offer(&mut self, slot: Slot, item: T, now: Instant) -> Option<T> {
        let Some(Some(place)) = self.places.get_mut(slot.0) else { return Some(item) };
        place.counts.offered += 1;
        let old = place.pending.replace((item, now));
        place.counts.replaced += u64::from(old.is_some());
        old.map(|(item, _)| item)
    }

    /// How many requests wait.
    pub fn pending(&self) -> usize {
        self.places.iter().flatten().filter(|place| place.pending.is_some()).count()
    }

    /// The source of a place.
    pub fn source(&self, slot: Slot) -> Option<&Source> {
        self.places.get(slot.0)?.as_ref().map(|place| &place.source)
    }

    /// What happened at a source.
    pub fn counts(&self, slot: Slot) -> Counts {
        self.places.get(slot.0).and_then(Option::as_ref).map_or_else(Counts::default, |place| place.counts)
    }

    /// Moves the next batch to `out` (cleared first) and says which model it is for; none when nothing waits.
    ///
    /// With `m` models, and `s` sources of which the model's batch holds `b`, a waiting source is taken within
    /// `m * ceil(s / b)` calls when each camera has one region, whatever the others offer. A camera with several
    /// regions shares its turns among them.
    pub fn take(&mut self, now: Instant, out: &mut Vec<Due<T>>) -> Option<usize> {
        out.clear();
        let model = self.next_model()?;
        self.turn += 1;
        self.models[model].last_turn = self.turn;
        while out.len() < self.models[model].max_batch {
            let Some(index) = self.next_place(model) else { break };
            self.turn += 1;
            let turn = self.turn;
            let Some(place) = &mut self.places[index] else { break };
            let Some((item, since)) = place.pending.take() else { break };
            place.last_turn = turn;
            self.models[model].camera_turns[place.camera] = turn;
            place.counts.taken += 1;
            out.push(Due { slot: Slot(index), item, waited: now.saturating_duration_since(since) });
        }
        Some(model)
    }

    /// Of the models that have something waiting, the one whose last turn is longest ago.
    fn next_model(&self) -> Option<usize> {
        let waiting = self.places.iter().flatten().filter(|place| place.pending.is_some());
        waiting.map(|place| place.source.model).min_by_key(|&model| (self.models[model].last_turn, model))
    }

    /// Of the model's waiting sources, the one whose camera was served longest ago, then whose region was.
    fn next_place(&self, model: usize) -> Option<usize> {
        let turns = &self.models[model].camera_turns;
        let places = self.places.iter().enumerate().filter_map(|(index, place)| Some((index, place.as_ref()?)));
        let waiting = places.filter(|(_, place)| place.source.model == model && place.pending.is_some());
        waiting.min_by_key(|(index, p)| (turns[p.camera], p.last_turn, *index)).map(|(index, _)| index)
    }
}
