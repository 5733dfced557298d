//! `http(s)://` cameras: a JPEG that is asked for again and again, or an MJPEG stream. Decoded by `vision`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Certificate, Client, Response, StatusCode, header::CONTENT_TYPE};
use tokio::runtime::Handle;

use super::{
    Failure, Plan, Stop, failure::presented, multipart::Multipart, picture::Picture, supervisor::Outcome, uri::Remote,
};
use crate::{
    clock::micros,
    intake::{Arrival, Flow, Intake},
};

/// Plays the camera; blocks its own thread, the network runs on the runtime.
pub fn run(plan: &Plan, remote: &Remote, runtime: &Handle, intake: &Arc<Mutex<Intake>>, stop: &Stop) -> Outcome {
    let client = match client(plan, remote) {
        Ok(client) => client,
        Err(failure) => return Outcome::Failed(failure),
    };
    let mut player = Player { plan, remote, client, intake, stop, decoder: None };
    runtime.block_on(player.play())
}

fn client(plan: &Plan, remote: &Remote) -> Result<Client, Failure> {
    let mut builder = Client::builder().connect_timeout(plan.stall).read_timeout(plan.stall);
    if let Some(path) = &plan.ca {
        let absent = |why: String| Failure::Absent { what: "certificate", path: path.display().to_string(), why };
        let pem = std::fs::read(path).map_err(|error| absent(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| absent(innermost(&error)))?;
        if certificates.is_empty() {
            return Err(absent("no PEM certificate is in it".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| unreachable_camera(remote, &error))
}

struct Player<'a> {
    plan: &'a Plan,
    remote: &'a Remote,
    client: Client,
    intake: &'a Arc<Mutex<Intake>>,
    stop: &'a Stop,
    decoder: Option<vision::jpeg::Decoder>,
}

impl Player<'_> {
    async fn play(&mut self) -> Outcome {
        loop {
            let asked = Instant::now();
            let response = tokio::select! {
                response = self.ask() => response,
                () = stopped(self.stop) => return Outcome::Stopped,
            };
            let response = match response {
                Ok(response) => response,
                Err(failure) => return Outcome::Failed(failure),
            };
            let kind = content_type(&response);
            let flow = if kind.starts_with("multipart/") {
                self.stream(response, &kind).await
            } else {
                self.snapshot(response, asked).await
            };
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => return Outcome::Stopped,
                Err(failure) => return Outcome::Failed(failure),
            }
            let rest = self.plan.interval.saturating_sub(asked.elapsed());
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stopped(self.stop) => return Outcome::Stopped,
            }
        }
    }

    async fn ask(&self) -> Result<Response, Failure> {
        let mut request = self.client.get(self.remote.url.clone());
        if let Some(credentials) = &self.plan.credentials {
            request = request.basic_auth(&credentials.user, Some(&credentials.password));
        }
        let response = request.send().await.map_err(|error| unreachable_camera(self.remote, &error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Failure::Unauthorized(self.remote.shown(), presented(self.plan.credentials.is_some())))
            }
            status => Err(self.not_pictures(format!("it answers {status}"))),
        }
    }

    async fn snapshot(&mut self, mut response: Response, asked: Instant) -> Result<Flow, Failure> {
        let limit = vision::Limits::default().max_bytes;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable_camera(self.remote, &error))? {
            if bytes.len() + chunk.len() > limit {
                return Err(self.not_pictures(format!("its answer is longer than {limit} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        self.show(&bytes, asked).map_err(|error| self.not_pictures(error))
    }

    async fn stream(&mut self, mut response: Response, kind: &str) -> Result<Flow, Failure> {
        let limit = vision::Limits::default().max_bytes;
        let mut parts = Multipart::new(kind, limit).map_err(|error| self.not_pictures(error.to_string()))?;
        let mut unreadable = 0;
        loop {
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk.map_err(|error| self.broken_off(&error))?,
                () = stopped(self.stop) => return Ok(Flow::Stop),
            };
            let Some(chunk) = chunk else {
                return Err(Failure::Closed(self.remote.shown()));
            };
            parts.push(&chunk);
            let mut newest = None;
            while let Some(part) = parts.next_part().map_err(|error| self.not_pictures(error.to_string()))? {
                // Newest wins: what piled up while the last picture was decoded is old.
                newest = Some(part);
            }
            let Some(part) = newest else { continue };
            match self.show(&part, Instant::now()) {
                Ok(Flow::Continue) => unreadable = 0,
                Ok(Flow::Stop) => return Ok(Flow::Stop),
                Err(error) if unreadable >= 10 => return Err(self.not_pictures(error)),
                Err(_) => unreadable += 1,
            }
        }
    }

    fn show(&mut self, bytes: &[u8], asked: Instant) -> Result<Flow, String> {
        let limits = vision::Limits::default();
        let picture = if bytes.starts_with(b"\x89PNG") {
            vision::decode_picture(bytes, &limits).map_err(|error| error.to_string())?
        } else {
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                none => none.insert(vision::jpeg::Decoder::new().map_err(|error| error.to_string())?),
            };
            decoder.decode(bytes, &limits).map_err(|error| error.to_string())?
        };
        let arrival = Arrival::now(micros(asked.elapsed()));
        let picture = Picture::Decoded(Arc::new(picture));
        Ok(self.intake.lock().unwrap_or_else(PoisonError::into_inner).frame(&picture, arrival))
    }

    /// A stream that says nothing for too long has stalled; its server is there all the same.
    fn broken_off(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::Stalled(self.plan.stall.as_secs());
        }
        unreachable_camera(self.remote, error)
    }

    fn not_pictures(&self, why: String) -> Failure {
        Failure::NotPictures(self.remote.shown(), why)
    }
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_owned()
}

fn unreachable_camera(remote: &Remote, error: &reqwest::Error) -> Failure {
    Failure::Unreachable(remote.shown(), innermost(error))
}

/// An error's own text repeats the address; the causes below say what happened.
fn innermost(error: &reqwest::Error) -> String {
    let mut current: &dyn std::error::Error = error;
    while let Some(cause) = current.source() {
        current = cause;
    }
    current.to_string()
}

async fn stopped(stop: &Stop) {
    while !stop.is_set() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
