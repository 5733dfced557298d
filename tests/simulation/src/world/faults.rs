//! What befalls gateways and the lake by force: kills, power cuts, rot, snapshots put back, and people's hands.

use edge_agent::outbox::KINDS;

use super::World;
use crate::{gateway::Before, plan::What};

impl World<'_> {
    /// The process is gone and starts again; what it had written, synced or not, is still there.
    pub(super) fn kill_gateway(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        if let Some(extent) = gateway.extent() {
            gateway.before = Some(Before { extent, power_was_cut: false });
        }
        gateway.agent = None;
        self.start_gateway(at);
    }

    pub(super) fn cut_power(&mut self, at: usize, b: u32) {
        self.note_durable(at);
        self.truth.power_goes(at);
        let percent = [0, 10, 50, 90, 100][b as usize % 5];
        let mut dice = fastrand::Rng::with_seed(u64::from(b) ^ self.plan.seed);
        let gateway = &mut self.gateways[at];
        match (gateway.extent(), &mut gateway.before) {
            (Some(extent), _) => gateway.before = Some(Before { extent, power_was_cut: true }),
            (None, Some(before)) => before.power_was_cut = true,
            (None, None) => {}
        }
        gateway.lose_power(|| dice.u32(0..100) < percent);
        self.start_gateway(at);
    }

    /// The agent runs again: what it had before must be there, as far as nothing took it.
    pub(super) fn compare_with_before(&mut self, at: usize) {
        let Some(Before { extent: (epoch, before), power_was_cut }) = self.gateways[at].before.take() else { return };
        let Some((now, after)) = self.gateways[at].extent() else { return };
        let failed = self.fates[at].disk_failed;
        if now != epoch {
            // Possible only before the first superblock was durable: nothing was then.
            let durable = self.truth.written.values().any(|w| w.number.0 == epoch && w.durable && w.excused.is_none());
            if durable && !failed {
                self.violation(format!("gateway {at} has forgotten its log {epoch}"));
            }
            self.truth.excuse("its log was lost unsynced", |w| w.number.0 == epoch);
            return;
        }
        for ((kind, (_, next)), (_, after)) in KINDS.into_iter().zip(before).zip(after) {
            if after < next && !power_was_cut && !failed {
                self.violation(format!("killed, gateway {at} goes on at {kind} {after} instead of {next}"));
            }
            for content in self.truth.ends_at(epoch, kind, after, failed.then_some("its disk failed")) {
                self.violation(format!("{kind} record {content} of gateway {at} was synced and is gone"));
                self.outcome.lost += 1;
            }
        }
    }

    pub(super) fn rot(&mut self, at: usize, b: u32) {
        use edge_agent::outbox::disk::Disk as _;
        let Ok(found) = self.gateways[at].disk.list() else { return };
        if found.is_empty() {
            return;
        }
        self.fates[at].disk_failed = true;
        let file = &found[b as usize % found.len()];
        let bit = b as usize / 7;
        self.gateways[at].disk.corrupt(&file.name, |bytes| {
            if !bytes.is_empty() {
                let at = bit % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
            }
        });
    }

    pub(super) fn roll_back_gateway(&mut self, at: usize) {
        let Some(copy) = self.gateways[at].copy.take() else { return };
        self.fates[at].rolled_back = true;
        self.truth.excuse("its gateway was rolled back", |w| w.gateway == at);
        self.gateways[at].before = None;
        self.gateways[at].put_in(copy);
        self.start_gateway(at);
    }

    /// What somebody does to the lake while no hub runs.
    pub(super) async fn by_hand(&mut self, what: What) -> anyhow::Result<()> {
        let none = self.lake.backup.is_none();
        if matches!(what, What::Restore | What::RollBackTables) && none {
            return Ok(());
        }
        self.stop_hubs();
        self.settle().await;
        match what {
            What::Restore => self.lake.restore().await?,
            What::RollBackTables => {
                self.grown.forget_committed();
                self.lake.roll_back().await?;
            }
            What::LoseTables => self.lake.lose_tables().await?,
            What::Rebuild => self.lake.rebuild().await?,
            _ => {
                self.excuse_what_the_lake_had().await?;
                self.lake.wipe().await?;
            }
        }
        self.start_hub(0).await
    }

    /// Gateways delete what the lake had, and may do so after it is gone: a watermark may still be under way.
    pub(super) async fn excuse_what_the_lake_had(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.lake.open().await?;
        let streams = index.manifest().await?.streams;
        let had = |(epoch, kind, seq)| {
            streams.iter().any(|s| (s.id.epoch, s.id.kind) == (epoch, kind) && s.committed.contains(seq))
        };
        for at in 0..self.gateways.len() {
            let held = self.gateways[at].held();
            self.truth.excuse("the lake was wiped", |w| w.gateway == at && (had(w.number) || !held(w.number)));
        }
        Ok(())
    }
}
