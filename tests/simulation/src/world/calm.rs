//! The end of a run: faults stop, and what was written must arrive within a bound.

use std::time::Duration;

use contract::Archived;

use super::{CALM_STEPS, World, topic};
use crate::{bus::Listener, check, gateway::Gateway, hub::FLUSH};

/// Steps in which nothing new is made. Then each gateway tells its health, as agents do: one that has nothing left to send
/// is not heard by a hub that was wiped, and so is not told of it.
const SILENT_STEPS: usize = 100;
/// An event's number that makes one health record.
const A_HEALTH: u32 = 5;

impl World<'_> {
    /// Faults stop; everything must arrive.
    pub(super) async fn calm(&mut self) -> anyhow::Result<()> {
        self.note("calm", &[]);
        for at in 0..self.gateways.len() {
            self.gateways[at].disk.fail(None);
            if self.gateways[at].agent.is_none() {
                self.start_gateway(at);
            }
            if !self.gateways[at].connected {
                self.connect_gateway(at);
            }
        }
        for step in 0..CALM_STEPS {
            self.tend().await?;
            if step == SILENT_STEPS {
                (0..self.gateways.len()).for_each(|at| self.append(at, A_HEALTH));
            }
            self.tick(Duration::from_millis(if step % 4 == 3 { 11_000 } else { 400 })).await;
            for at in 0..self.gateways.len() {
                self.gateways[at].sync(false, true);
                self.gateways[at].maintain();
                self.note_durable(at);
            }
            self.settle().await;
            self.deliver_everything().await;
            if self.is_done().await? {
                self.note("done", &[step as u64]);
                self.flush_the_rest().await;
                return self.compare_retained().await;
            }
        }
        let left: Vec<_> = self.gateways.iter().map(Gateway::backlog).collect();
        self.violation(format!("no end within {CALM_STEPS} steps: left {left:?}"));
        Ok(())
    }

    /// What accounts for no number may still be on its way: second arrivals, dead letters.
    pub(super) async fn flush_the_rest(&mut self) {
        for _ in 0..3 {
            self.tick(2 * FLUSH).await;
            self.settle().await;
            self.deliver_everything().await;
        }
    }

    /// The watermark that the broker keeps is what the tables say.
    pub(super) async fn compare_retained(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.lake.open().await?;
        for at in 0..self.gateways.len() {
            let now = index.watermark(&self.gateways[at].who).await?;
            let retained = self.bus.retained(&topic(&self.gateways[at]));
            let retained = retained.and_then(|kept| serde_json::from_slice::<Archived>(&kept.payload).ok());
            if self.plan.mutation.is_none()
                && now.epochs.iter().any(|epoch| !epoch.kinds.is_empty())
                && retained.as_ref() != Some(&now)
            {
                self.violation(format!("an old watermark stays: {retained:?} instead of {now:?}"));
            }
        }
        Ok(())
    }

    /// What an operator does: a hub runs, and is connected; a rebuild that is due is made.
    pub(super) async fn tend(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.lake.open().await?;
        if index.rebuild_due().await?.is_some() {
            self.note("rebuild is due", &[]);
            self.stop_hubs();
            self.settle().await;
            self.lake.rebuild().await?;
        }
        self.start_hub(0).await?;
        for hub in self.hubs.iter_mut().flatten() {
            hub.life.open();
            if !hub.connected {
                hub.connected = hub.far.up();
            }
        }
        Ok(())
    }

    pub(super) async fn deliver_everything(&mut self) {
        for _ in 0..2000 {
            let before = self.bus.waiting(|listener| match listener {
                Listener::Hub(at) => self.hubs[at].is_some(),
                Listener::Gateway(_) => true,
            });
            let Some(listener) = before.first().copied() else { return };
            if let Some(publication) = self.bus.take(listener, 0, false) {
                self.hand_over(listener, publication);
            }
            self.settle().await;
        }
    }

    pub(super) async fn is_done(&mut self) -> anyhow::Result<bool> {
        let archived = self.gateways.iter().all(|g| g.agent.as_ref().is_some_and(|agent| agent.archive.is_archived()));
        if !archived {
            return Ok(false);
        }
        let (index, _) = self.lake.open().await?;
        Ok(index.rebuild_due().await?.is_none() && check::unaccounted(&index, &self.gateways).await?.is_empty())
    }
}
