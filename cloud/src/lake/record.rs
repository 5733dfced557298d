//! A record in hand: header, body by kind, and blobs; what ingest accepts, the lake writes and the API streams.

use bytes::Bytes;
use contract::{Event, Gap, Header, Health, Kind, Prediction, Sample, frame, scan::Scanner};
use serde::Serialize;

/// The body of a record, by kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// What the model said.
    Prediction(Prediction),
    /// A stable label changed.
    Event(Event),
    /// A kept picture; its blobs are the picture and the model's input.
    Sample(Sample),
    /// How the gateway is.
    Health(Health),
    /// What is missing from a log.
    Gap(Gap),
}

impl Body {
    /// The kind of record that has this body.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Prediction(_) => Kind::Prediction,
            Self::Event(_) => Kind::Event,
            Self::Sample(_) => Kind::Sample,
            Self::Health(_) => Kind::Health,
            Self::Gap(_) => Kind::Gap,
        }
    }
}

/// A whole record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Who, when, which model.
    pub header: Header,
    /// What.
    pub body: Body,
    /// The blobs, one after the other; empty for every kind but sample.
    pub blobs: Bytes,
}

/// Why a record with a right checksum cannot be kept as a row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The bytes are no record.
    #[error(transparent)]
    Form(#[from] frame::Error),
    /// The reserved kind, or one of a newer version.
    #[error("records of kind {0} are not read by this version")]
    Kind(Kind),
    /// A fact of the body contradicts the blobs or itself.
    #[error("sample is inconsistent: {0}")]
    Sample(String),
    /// Labels and scores do not belong together.
    #[error("{labels} labels but {scores} scores")]
    Scores {
        /// How many labels.
        labels: usize,
        /// How many scores.
        scores: usize,
    },
}

impl Record {
    /// Reads the body that `header` promises.
    pub fn read(header: Header, parts: &frame::RecordParts<'_>, scanner: &mut Scanner) -> Result<Self, Unreadable> {
        let body = match header.kind {
            Kind::Prediction => {
                Body::Prediction(scanner.prediction(parts.body).map_or_else(|| parts.parse_body(), Ok)?)
            }
            Kind::Event => Body::Event(parts.parse_body()?),
            Kind::Sample => Body::Sample(parts.parse_body()?),
            Kind::Health => Body::Health(parts.parse_body()?),
            Kind::Gap => Body::Gap(parts.parse_body()?),
            other => return Err(Unreadable::Kind(other)),
        };
        let record = Self { header, body, blobs: Bytes::copy_from_slice(parts.blobs) };
        record.check()?;
        Ok(record)
    }

    /// Whether the body's own facts hold: as many scores as labels, blobs as long as stated and with the stated digest.
    pub fn check(&self) -> Result<(), Unreadable> {
        match &self.body {
            Body::Prediction(p) => same_length(p.labels.len(), p.scores.len()),
            Body::Sample(sample) => {
                same_length(sample.labels.len(), sample.scores.len())?;
                check_blobs(sample, &self.blobs).map_err(Unreadable::Sample)
            }
            Body::Event(_) | Body::Health(_) | Body::Gap(_) => Ok(()),
        }
    }

    /// The sample's picture and compressed model input, where this is a sample.
    pub fn sample_blobs(&self) -> Option<(&Sample, Bytes, Option<Bytes>)> {
        let Body::Sample(sample) = &self.body else { return None };
        let cut = usize::try_from(sample.picture.bytes).ok()?.min(self.blobs.len());
        let input = sample.input.as_ref().map(|_| self.blobs.slice(cut..));
        Some((sample, self.blobs.slice(..cut), input))
    }

    /// About how many bytes of memory the record holds.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 1024; // the row itself, a few allocations, and its columns while they are written
        FIXED + self.blobs.len()
    }
}

fn same_length(labels: usize, scores: usize) -> Result<(), Unreadable> {
    if labels == scores { Ok(()) } else { Err(Unreadable::Scores { labels, scores }) }
}

fn check_blobs(sample: &Sample, blobs: &[u8]) -> Result<(), String> {
    use sha2::{Digest as _, Sha256};
    let input = sample.input.as_ref().map_or(0, |i| i.bytes);
    let stated = sample.picture.bytes.checked_add(input);
    if stated != Some(blobs.len() as u64) {
        let picture = sample.picture.bytes;
        return Err(format!("it states {picture} + {input} bytes of blobs and carries {}", blobs.len()));
    }
    let digest: [u8; 32] = Sha256::digest(&blobs[..sample.picture.bytes as usize]).into();
    if digest != sample.picture.sha256.0 {
        return Err("the picture's digest is not the stated one".to_owned());
    }
    Ok(())
}
