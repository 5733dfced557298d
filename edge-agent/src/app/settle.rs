//! Gives memory back once the cameras run: what loading GStreamer's plugins, the models and their libraries has read in,
//! and decoders touch no more, is more than half of what one stream needs.
//!
//! Looks at the cameras every few seconds; when they have changed since and now stay as they are, memory is given back
//! once. A camera that fails over and over never stays as it is, and costs nothing here.

use std::{convert::Infallible, sync::Arc, time::Duration};

use contract::{Timestamp, live::Presence};
use daemon::{CancellationToken, memory};

use crate::state;

/// Between two looks: as long as a pipeline needs to have all its decoder's pages in use.
const LOOK: Duration = Duration::from_secs(5);

/// Runs until the word to stop.
pub async fn run(cameras: Vec<Arc<state::Camera>>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut settled = Settled::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let now = cameras.iter().map(|camera| camera.state()).map(|state| (state.presence, state.since)).collect();
        if settled.look(now) {
            let given = tokio::task::spawn_blocking(memory::give_back).await;
            tracing::debug!(given = ?given.ok(), "gave back pages that starting the cameras has read in");
        }
    }
    Ok(())
}

type Look = Vec<(Presence, Timestamp)>;

/// Whether cameras have changed and stay as they are.
#[derive(Default)]
struct Settled {
    last: Option<Look>,
    given: Option<Look>,
}

impl Settled {
    /// Takes the newest look; true when it is time to give memory back.
    fn look(&mut self, now: Look) -> bool {
        let now = Some(now);
        let due = self.last == now && self.given != now;
        if due {
            self.given.clone_from(&now);
        }
        self.last = now;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_for_each_change_that_stays() {
        let mut settled = Settled::default();
        let look = |since: i64| vec![(Presence::Online, Timestamp(since))];
        let seen: Vec<bool> = [1, 1, 1, 2, 3, 3, 3, 1, 1].into_iter().map(|since| settled.look(look(since))).collect();
        assert_eq!(seen, [false, true, false, false, false, true, false, false, true]);
    }
}
