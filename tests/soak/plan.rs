//! What a round does, by seed: which parts are struck, how, when and for how long. Pure.
//!
//! The first strike of each round comes from a deck that holds every fault, kills twice, shuffled, so that none is left to luck;
//! up to two more come at random, without the faults whose healing takes a keep-alive.

use std::{fmt, time::Duration};

use world::Line;

use crate::chance::Chance;

/// Where the tables are, and with that how the hub is cut into processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tables {
    /// In SQLite; one hub with all roles.
    Sqlite,
    /// In Postgres, and the objects in an S3 server of their own; links lie between.
    Postgres,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A gateway's agent, by number.
    Agent(usize),
    /// The hub.
    Hub,
    /// The hub's mosquitto.
    Broker,
    /// The S3 server.
    Store,
    /// Postgres: the postmaster and all of its backends.
    Database,
    /// The postmaster alone.
    Postmaster,
    /// One process of Postgres that is not the postmaster.
    Backend,
}

/// What lies between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// From a gateway to the broker.
    Agent(usize),
    /// From the hub to the S3 server.
    Store,
    /// From the hub to Postgres.
    Database,
}

/// What is done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(Part),
    /// SIGSTOP, and SIGCONT later.
    Freeze(Part),
    /// The link does something else than carry.
    Line(Cable, Line),
    /// The part's disk is full.
    Fill(Part),
}

/// One fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// From the round's beginning.
    pub after: Duration,
    /// What happens.
    pub fault: Fault,
    /// How long it stays so; what was killed is started again when the round heals.
    pub lasts: Duration,
}

impl Strike {
    /// When it is over.
    pub fn until(&self) -> Duration {
        self.after + self.lasts
    }
}

/// What one round does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// By the time at which they begin.
    pub strikes: Vec<Strike>,
    /// What was killed is started so often in vain: it is killed again so long after its start.
    pub false_starts: Vec<Duration>,
}

/// The plan of one round. Rounds count from 1.
pub fn round(seed: u64, tables: Tables, gateways: usize, round: usize) -> Round {
    let mut deck = faults(tables, gateways);
    let (turn, at) = ((round - 1) / deck.len(), (round - 1) % deck.len());
    Chance::new(seed, 1_000_000 + turn as u64).shuffle(&mut deck);
    let mut chance = Chance::new(seed, round as u64);
    let more = match chance.below(20) {
        0..10 => 0,
        10..17 => 1,
        _ => 2,
    };
    let first = deck[at];
    deck.retain(|fault| !is_slow(*fault));
    let mut strikes = vec![strike(&mut chance, first)];
    for _ in 0..more {
        let fault = deck[chance.below(deck.len())];
        strikes.push(strike(&mut chance, fault));
    }
    let alone: Vec<Strike> = strikes.iter().filter_map(|full| cut_off(&mut chance, full)).collect();
    strikes.extend(alone);
    strikes.sort_by_key(|strike| strike.after);
    let in_vain = [0, 0, 0, 1, 1, 2][chance.below(6)];
    Round { strikes, false_starts: (0..in_vain).map(|_| chance.between(5, 400)).collect() }
}

fn strike(chance: &mut Chance, fault: Fault) -> Strike {
    // A disk is not felt to be full at once.
    let lasts = if let Fault::Fill(_) = fault { chance.between(1000, 4000) } else { chance.between(200, 2500) };
    Strike { after: chance.between(0, 1500), fault, lasts }
}

/// While its records go to the hub an agent finds room on a full disk by deleting what is archived; often it must do without.
fn cut_off(chance: &mut Chance, full: &Strike) -> Option<Strike> {
    let Fault::Fill(Part::Agent(gateway)) = full.fault else { return None };
    let fault = Fault::Line(Cable::Agent(gateway), Line::Cut);
    (chance.below(2) == 0).then(|| Strike { after: full.after / 2, fault, lasts: full.lasts + full.after })
}

/// Nobody is told that such a connection is dead: only its keep-alive finds out.
fn is_slow(fault: Fault) -> bool {
    matches!(fault, Fault::Line(_, Line::Dark | Line::Deaf))
}

/// Every fault of such a world; the more likely ones again.
pub fn faults(tables: Tables, gateways: usize) -> Vec<Fault> {
    let mut all = Vec::new();
    for gateway in 0..gateways {
        let (agent, cable) = (Part::Agent(gateway), Cable::Agent(gateway));
        all.extend([Fault::Kill(agent), Fault::Kill(agent), Fault::Fill(agent), Fault::Line(cable, Line::Cut)]);
    }
    let (agent, cable) = (Part::Agent(0), Cable::Agent(0));
    all.extend([Line::Stalled, Line::Dark, Line::Deaf].map(|line| Fault::Line(cable, line)));
    all.extend([Part::Hub, Part::Hub, Part::Hub, Part::Broker, Part::Broker].map(Fault::Kill));
    all.extend([agent, Part::Hub, Part::Broker].map(Fault::Freeze));
    all.push(Fault::Fill(Part::Hub));
    if tables == Tables::Postgres {
        let parts = [Part::Store, Part::Store, Part::Database, Part::Database, Part::Postmaster, Part::Backend];
        all.extend(parts.map(Fault::Kill));
        all.extend([Part::Store, Part::Database].map(Fault::Freeze));
        for cable in [Cable::Store, Cable::Database] {
            all.extend([Line::Cut, Line::Stalled].map(|line| Fault::Line(cable, line)));
        }
        all.extend([Fault::Line(Cable::Database, Line::Dark), Fault::Line(Cable::Store, Line::Dark)]);
        all.push(Fault::Fill(Part::Store));
    }
    all
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(gateway) => write!(f, "agent {}", gateway + 1),
            Self::Hub => f.write_str("hub"),
            Self::Broker => f.write_str("mosquitto"),
            Self::Store => f.write_str("S3 server"),
            Self::Database => f.write_str("Postgres"),
            Self::Postmaster => f.write_str("postmaster"),
            Self::Backend => f.write_str("a Postgres backend"),
        }
    }
}

impl fmt::Display for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(gateway) => write!(f, "link of agent {}", gateway + 1),
            Self::Store => f.write_str("link to S3"),
            Self::Database => f.write_str("link to Postgres"),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strikes = self.strikes.iter().map(Strike::to_string).collect::<Vec<_>>().join(", ");
        let killed = self.strikes.iter().any(|strike| matches!(strike.fault, Fault::Kill(_)));
        let again = self.false_starts.iter().filter(|_| killed);
        let again: String = again.map(|moment| format!(", again {} ms into its start", moment.as_millis())).collect();
        write!(f, "{strikes}{again}")
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Kill(part) => write!(f, "kill {part}"),
            Fault::Freeze(part) => write!(f, "freeze {part}"),
            Fault::Line(cable, line) => write!(f, "{cable} {}", format!("{line:?}").to_lowercase()),
            Fault::Fill(part) => write!(f, "disk of {part} full"),
        }?;
        write!(f, " at {:.1}s", self.after.as_secs_f64())?;
        if matches!(self.fault, Fault::Kill(_)) { Ok(()) } else { write!(f, " for {:.1}s", self.lasts.as_secs_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_rounds_and_a_deck_leaves_nothing_out() {
        for tables in [Tables::Sqlite, Tables::Postgres] {
            let rounds = |seed| (1..=100).map(|n| round(seed, tables, 2, n)).collect::<Vec<_>>();
            assert_eq!(rounds(7), rounds(7));
            assert_ne!(rounds(7), rounds(8));
            let all = faults(tables, 2);
            let struck: Vec<_> =
                (1..=all.len()).flat_map(|n| round(7, tables, 2, n).strikes).map(|s| s.fault).collect();
            assert!(all.iter().all(|fault| struck.contains(fault)), "{tables}: {struck:?}");
        }
    }
}
