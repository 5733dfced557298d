//! Progress once faults have stopped: what the gateways had written when all was healed must be archived within a time, and
//! the gateways must know it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use contract::{Archived, Kind};
use world::{Observer, wait};

use crate::{
    world::{SITE, World},
    written::Written,
};

/// How long it may take. A dead connection is noticed after 23 s at most (its keep-alive is 15 s), what a broker has lost is
/// sent again after 30 s without progress.
const PATIENCE: Duration = Duration::from_secs(120);
/// Records that are under way while everything works: several flushes of one gateway's.
const UNDER_WAY: f64 = 600.0;

/// Waits until all that was written is archived, and the gateways hold no backlog; gives how long it took.
pub fn wait(world: &World, written: &[Written], incarnation: &mut Option<String>) -> Result<Duration> {
    let began = Instant::now();
    archived(&world.broker, written, incarnation)?;
    let mut held = None;
    let done = wait::until_within(PATIENCE, "the gateways to know it", || {
        held = backlog(world)?;
        Ok(held.is_none().then_some(()))
    });
    done.with_context(|| held.unwrap_or_default())?;
    Ok(began.elapsed())
}

/// Waits until the hub's watermarks pass all that was written.
pub fn archived(broker: &str, written: &[Written], incarnation: &mut Option<String>) -> Result<()> {
    let (url, topics) = (format!("mqtt://{broker}"), format!("sightline/down/{SITE}/+/archived"));
    let (mut observer, mut waiting) = (None, String::new());
    let done = wait::until_within(PATIENCE, "the backlog to be archived", || {
        let watching: Observer = match observer.take() {
            Some(watching) => watching,
            None => Observer::start(&url, &[&topics])?,
        };
        waiting = behind(&watching, written, incarnation)?.unwrap_or_default();
        // A broker that has ended takes the observer with it: a new one looks again.
        observer = watching.trouble().is_none().then_some(watching);
        Ok(waiting.is_empty().then_some(()))
    });
    done.with_context(|| waiting)
}

/// What the watermarks lack of what was written; `None` when nothing.
fn behind(observer: &Observer, written: &[Written], incarnation: &mut Option<String>) -> Result<Option<String>> {
    for (n, written) in written.iter().enumerate() {
        let name = format!("gw-{}", n + 1);
        let Some(epoch) = written.epoch else { continue };
        let Some(document) = observer.last(&format!("sightline/down/{SITE}/{name}/archived")) else {
            return Ok(Some(format!("{name} has no watermark")));
        };
        let archived: Archived = serde_json::from_slice(&document.payload).context("read a watermark")?;
        let known = incarnation.get_or_insert_with(|| archived.incarnation.clone());
        ensure!(*known == archived.incarnation, "the lake began a new incarnation, and its tables were never touched");
        for (kind, next) in &written.next {
            let upto = archived.of(epoch, *kind).map_or(0, |kind| kind.upto);
            if upto < *next {
                return Ok(Some(format!("{name}: {kind} is archived up to {upto} of {next}")));
            }
        }
    }
    Ok(None)
}

/// A gateway that still holds more than what is under way; `None` when none does.
fn backlog(world: &World) -> Result<Option<String>> {
    for (n, gateway) in world.gateways.iter().enumerate() {
        let metrics = gateway.edge.admin()?.get("/metrics")?.text();
        let held: f64 = held(&metrics).values().sum();
        if held > UNDER_WAY {
            return Ok(Some(format!("gw-{} still holds {held} records", n + 1)));
        }
    }
    Ok(None)
}

fn held(metrics: &str) -> BTreeMap<Kind, f64> {
    let record = |line: &str| {
        let rest = line.strip_prefix("sightline_outbox_records{kind=\"")?;
        let (kind, count) = rest.split_once("\"} ")?;
        Some((kind.parse().ok()?, count.parse().ok()?))
    };
    metrics.lines().filter_map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_metrics_are_read() {
        let text =
            "# TYPE x gauge\nsightline_outbox_records{kind=\"event\"} 3\nsightline_outbox_records{kind=\"gap\"} 0\n";
        assert_eq!(held(text), [(Kind::Event, 3.0), (Kind::Gap, 0.0)].into());
    }
}
