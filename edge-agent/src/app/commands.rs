//! Requests on `down/<site>/<gateway>/command`, answered on their MQTT 5 response topic with their correlation.

use std::{sync::atomic::Ordering, time::Duration};

use contract::{
    Topic,
    live::{Command, Reply},
};
use link::{Message, Publication};

use super::Shared;
use crate::live::JSON;

/// Whoever asked has stopped waiting after this.
const FRESH: Duration = Duration::from_secs(60);

/// Carries a command out; the answer, when one is wanted.
pub fn answer(shared: &Shared, message: &Message) -> Option<Publication> {
    // A retained command would be carried out again at each connection.
    if message.retained {
        tracing::warn!("retained command is ignored: send commands without the retain flag");
        return None;
    }
    let reply = match serde_json::from_slice::<Command>(&message.payload) {
        Ok(Command::SampleNow { camera, region }) => {
            let outcome = sample_now(shared, camera.as_str(), region.as_ref().map(|r| r.as_str()));
            Reply { accepted: outcome.is_ok(), reason: outcome.err(), model: None }
        }
        Err(error) => Reply { accepted: false, reason: Some(format!("command cannot be read: {error}")), model: None },
    };
    // The one topic that answers are described on; nobody else gets to choose where we write.
    let own = Topic::Reply(shared.identity.principal()).under(&shared.config.mqtt.prefix);
    let wanted = message.response_topic.as_deref()?;
    if wanted != own {
        tracing::warn!(wanted, own, "command wants its answer elsewhere and gets none");
        return None;
    }
    let answer = message.answer(serde_json::to_vec(&reply).unwrap_or_default())?;
    Some(answer.expiring(FRESH).content_type(JSON))
}

fn sample_now(shared: &Shared, camera: &str, region: Option<&str>) -> Result<(), String> {
    let known = shared.cameras.iter().find(|c| c.id.as_str() == camera);
    let camera = known.ok_or_else(|| format!("there is no camera `{camera}`"))?;
    let regions: Vec<_> =
        camera.regions.iter().filter(|r| region.is_none_or(|wanted| r.id.as_str() == wanted)).collect();
    if regions.is_empty() {
        return Err(format!("camera `{}` has no region `{}`", camera.id, region.unwrap_or_default()));
    }
    regions.iter().for_each(|region| region.requested.store(true, Ordering::Relaxed));
    Ok(())
}
