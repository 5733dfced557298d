//! Carrying out faults on the world, and healing it: what was frozen goes on, what is gone is started again.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use world::Line;

use crate::{
    plan::{Fault, Part},
    world::World,
};

impl World {
    /// Does it, if it can be done now: what is dead already cannot be killed.
    pub fn strike(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(part) => self.kill(part),
            Fault::Freeze(part) => self.freeze(part),
            Fault::Line(cable, line) => {
                self.link(cable).context("a link that this world has not")?.set(line);
                Ok(())
            }
            Fault::Fill(part) => {
                if let Part::Agent(n) = part {
                    self.gateways[n].was_full = true;
                }
                self.disk(part).context("a disk that this world has not")?.fill()
            }
        }
    }

    /// Ends a fault that lasts. What was killed is started again only when all is healed.
    pub fn relieve(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(_) => Ok(()),
            Fault::Freeze(_) => {
                self.thaw();
                Ok(())
            }
            Fault::Line(cable, _) => {
                self.link(cable).context("a link that this world has not")?.set(Line::Open);
                Ok(())
            }
            Fault::Fill(part) => self.disk(part).context("a disk that this world has not")?.relieve(),
        }
    }

    fn kill(&mut self, part: Part) -> Result<()> {
        let died = match part {
            Part::Agent(_) | Part::Hub | Part::Store => {
                let process = self.process(part).context("a part that this world has not")?;
                let alive = process.is_running();
                if alive {
                    process.kill()?;
                }
                alive
            }
            Part::Broker => self.mosquitto().is_some_and(|pid| signal(pid, Signal::SIGKILL)),
            Part::Database => {
                let server = &mut self.database.as_mut().context("no Postgres in this world")?.server;
                let alive = server.process().is_running();
                if alive {
                    server.signal_all(Signal::SIGKILL)?;
                    server.process().wait(Duration::from_secs(10))?; // else it might look alive to who heals
                }
                alive
            }
            Part::Postmaster => {
                let server = &mut self.database.as_mut().context("no Postgres in this world")?.server;
                let alive = server.process().is_running();
                if alive {
                    server.process().kill()?;
                }
                alive
            }
            Part::Backend => {
                let server = &self.database.as_ref().context("no Postgres in this world")?.server;
                server.backends().pop().is_some_and(|pid| signal(pid, Signal::SIGKILL))
            }
        };
        self.kills += u64::from(died);
        self.killed.push(if part == Part::Postmaster { Part::Database } else { part });
        Ok(())
    }

    fn freeze(&mut self, part: Part) -> Result<()> {
        let pids = match part {
            Part::Agent(_) | Part::Hub | Part::Store => {
                let process = self.process(part).context("a part that this world has not")?;
                if process.is_running() { vec![process.id() as i32] } else { vec![] }
            }
            Part::Broker => self.mosquitto().into_iter().collect(),
            Part::Database | Part::Postmaster | Part::Backend => {
                let server = &mut self.database.as_mut().context("no Postgres in this world")?.server;
                let mut pids = server.backends();
                pids.extend(server.process().is_running().then(|| server.process().id() as i32));
                pids
            }
        };
        self.frozen.extend(pids.into_iter().filter(|pid| signal(*pid, Signal::SIGSTOP)));
        Ok(())
    }

    fn thaw(&mut self) {
        for pid in self.frozen.drain(..) {
            signal(pid, Signal::SIGCONT);
        }
    }

    /// Starts what is gone, from what others need to those who need it, each so often in vain before: killed again so long
    /// after its start. Gives what had ended without being killed.
    pub fn heal(&mut self, false_starts: &[Duration]) -> Result<Vec<String>> {
        self.thaw();
        let mut surprises = Vec::new();
        if let Some(database) = &mut self.database
            && !database.server.process().is_running()
        {
            let log = database.server.process().log().text();
            database.server.restart().with_context(|| format!("start Postgres again; its log was:\n{log}"))?;
            self.expected(Part::Database, &log, &mut surprises);
        }
        if let Some(store) = &mut self.store
            && !store.hub.process.is_running()
        {
            let log = store.hub.process.log().text();
            self.kills += in_vain(false_starts, |moment| store.hub.false_start(moment))?;
            store.hub.restart().context("start the S3 server again")?;
            self.expected(Part::Store, &log, &mut surprises);
        }
        if !self.hub.process.is_running() {
            let log = self.hub.process.log().text();
            self.kills += in_vain(false_starts, |moment| self.hub.false_start(moment))?;
            self.hub.restart().context("start the hub again")?;
            self.expected(Part::Hub, &log, &mut surprises);
        }
        for n in 0..self.gateways.len() {
            let edge = &mut self.gateways[n].edge;
            if !edge.process.is_running() {
                let log = edge.process.log().text();
                self.kills += in_vain(false_starts, |moment| edge.false_start(moment))?;
                edge.restart().with_context(|| format!("start agent {} again", n + 1))?;
                self.expected(Part::Agent(n), &log, &mut surprises);
            }
        }
        self.killed.clear();
        Ok(surprises)
    }

    fn expected(&self, part: Part, log: &str, surprises: &mut Vec<String>) {
        if !self.killed.contains(&part) {
            let last: Vec<&str> = log.lines().rev().take(12).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            surprises.push(format!("{part} had ended by itself; its last lines:\n{}", last.join("\n")));
        }
    }
}

/// How many starts were cut short.
fn in_vain(moments: &[Duration], mut start: impl FnMut(Duration) -> Result<()>) -> Result<u64> {
    moments.iter().try_for_each(|moment| start(*moment))?;
    Ok(moments.len() as u64)
}

/// Whether the process was there to take it.
fn signal(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}
