//! What happens, as a list drawn from a seed. An event says what to try; the world knows whether it makes sense at that
//! moment, so that any part of a plan is a plan: that is what lets it be shortened.

/// One thing that happens. `a` and `b` choose among what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub what: What,
    /// Chooses whom it befalls.
    pub a: u32,
    /// Chooses how.
    pub b: u32,
}

macro_rules! whats {
    ($($(#[$doc:meta])* $name:ident $weight:literal $rare:literal,)*) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum What {
            $($(#[$doc])* $name,)*
        }

        /// Each with how often it happens, and whether a plan may do without it.
        const WEIGHTS: &[(What, u32, bool)] = &[$((What::$name, $weight, $rare),)*];
    };
}

whats! {
    /// A gateway makes records.
    Append 160 false,
    /// A gateway's syncer runs.
    Sync 90 false,
    /// A gateway looks after its log.
    Maintain 20 false,
    /// Time passes.
    Wait 110 false,
    /// The bus delivers a message, in any order.
    Deliver 260 false,
    /// An effect of a hub goes on as it should.
    Pass 340 false,
    /// The bus loses a message.
    Lose 16 true,
    /// The bus delivers a message and keeps it.
    Double 16 true,
    /// An effect of a hub is refused.
    Refuse 16 true,
    /// An effect of a hub is done, and its answer lost.
    Answerless 16 true,
    /// The bus forgets everything that it held.
    Amnesia 3 true,
    /// A gateway's connection breaks, or comes back.
    Link 14 true,
    /// A hub's connection breaks, or comes back.
    HubLink 8 true,
    /// A gateway is killed and starts again.
    KillGateway 8 true,
    /// A gateway loses power, and with it what it had not synced.
    PowerCut 8 true,
    /// A gateway's disk begins to fail.
    BreakDisk 4 true,
    /// A gateway's disk works again.
    MendDisk 12 true,
    /// A bit of a gateway's disk flips.
    Rot 2 true,
    /// Somebody keeps a copy of a gateway's disk.
    Snapshot 3 true,
    /// Somebody puts that copy back.
    RollBackGateway 2 true,
    /// A gateway gets an empty disk.
    ReplaceDisk 1 true,
    /// A hub is killed.
    KillHub 8 true,
    /// A hub is started, up to two.
    StartHub 16 false,
    /// A hub's upkeep does one of its turns.
    Upkeep 32 true,
    /// Somebody makes a backup of the tables.
    Backup 4 true,
    /// Somebody stops the hubs and restores it.
    Restore 2 true,
    /// Somebody stops the hubs and puts the tables' files back by hand.
    RollBackTables 2 true,
    /// The tables are lost.
    LoseTables 1 true,
    /// Tables and objects are lost.
    Wipe 1 true,
    /// Somebody makes the tables anew from the objects.
    Rebuild 2 true,
    /// A gateway's wall clock jumps.
    ClockJump 4 true,
    /// Days pass.
    Days 2 true,
}

/// What plans have only when they are asked to be harder: a gateway's disk changes behind its back, so that its numbers may
/// mean two things until somebody learns of it.
const HARDER: [What; 3] = [What::Rot, What::Snapshot, What::RollBackGateway];

/// What is broken on purpose: a simulator that does not notice is blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Ingest takes what comes twice.
    NoDedup,
    /// The outbox says that records are durable without syncing them.
    NoSync,
    /// The watermark does not say which life of the lake it is about.
    NoIncarnation,
    /// Commits do not compare versions.
    NoVersions,
    /// Objects without a commit are deleted at once.
    NoGrace,
    /// The watermark names one number more than is committed.
    EarlyWatermark,
    /// Each watermark of a process but its first says half of what it should.
    StaleWatermark,
    /// Gateways send without waiting for anything to be archived.
    NoWindow,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoDedup,
        Self::NoSync,
        Self::NoIncarnation,
        Self::NoVersions,
        Self::NoGrace,
        Self::EarlyWatermark,
        Self::StaleWatermark,
        Self::NoWindow,
    ];
}

/// What happens in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where chance comes from in what the plan does not say.
    pub seed: u64,
    /// In order.
    pub events: Vec<Event>,
    /// The outboxes are small, and drop what does not fit.
    pub tight: bool,
    /// Both gateways use one id.
    pub twins: bool,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
}

/// Events of a plan.
const LENGTH: std::ops::Range<usize> = 60..260;

impl Plan {
    /// Draws a plan. Each does without most of what is rare, so that what it has happens often.
    pub fn draw(seed: u64) -> Self {
        Self::drawn(seed, false)
    }

    /// Draws a plan in which a gateway's disk may also rot or be put back to an earlier state.
    pub fn draw_harder(seed: u64) -> Self {
        Self::drawn(seed, true)
    }

    fn drawn(seed: u64, harder: bool) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let keep_one_in = dice.u32(1..5);
        let mut weights = WEIGHTS.to_vec();
        weights.retain(|(what, ..)| harder || !HARDER.contains(what));
        weights.retain(|(_, _, rare)| !rare || dice.u32(0..keep_one_in) == 0);
        let all: u32 = weights.iter().map(|(_, weight, _)| weight).sum();
        let mut draw = || {
            let mut at = dice.u32(0..all);
            let what = weights.iter().find(|(_, weight, _)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            Event { what: what.map_or(What::Wait, |(what, ..)| *what), a: dice.u32(..), b: dice.u32(..) }
        };
        let length = LENGTH.start + (seed as usize * 31) % LENGTH.len();
        let events = (0..length).map(|_| draw()).collect();
        Self { seed, events, tight: seed.is_multiple_of(5), twins: seed.is_multiple_of(11), mutation: None }
    }

    /// The same with something broken on purpose.
    pub fn mutated(self, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything() {
        assert_eq!(Plan::draw(7), Plan::draw(7));
        assert_ne!(Plan::draw(7), Plan::draw(8));
    }
}
