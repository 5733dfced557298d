//! Checksums: what a client says of a body, what we compute, and what is kept of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s3s::{
    S3Error, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    dto, s3_error,
};
use serde::{Deserialize, Serialize};

/// The algorithms that S3 knows, with the names of their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64nvme, Self::Sha1, Self::Sha256];

    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn parse(name: &str) -> Result<Self, S3Error> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| s3_error!(InvalidRequest, "checksum algorithm `{name}` is not supported"))
    }
}

/// Hashers of the algorithms that matter for one body.
#[derive(Default)]
pub(super) struct Sums(ChecksumHasher);

impl Sums {
    pub fn of(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut hasher = ChecksumHasher::default();
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
                Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
                Algorithm::Crc64nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
                Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
                Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
            }
        }
        Self(hasher)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Checksums {
        Checksums::from(self.0.finalize())
    }
}

/// Checksums in base64, by algorithm; kept as JSON beside the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksums {
    sums: Vec<(Algorithm, String)>,
    /// Of a multipart object: a checksum over the parts' checksums, with `-<parts>` behind it.
    composite: bool,
}

impl Checksums {
    pub fn single(algorithm: Algorithm, sum: String, composite: bool) -> Self {
        Self { sums: vec![(algorithm, sum)], composite }
    }

    pub fn get(&self, algorithm: Algorithm) -> Option<&str> {
        self.sums.iter().find(|(a, _)| *a == algorithm).map(|(_, sum)| sum.as_str())
    }

    /// As the protocol's type, with nothing in it when there are none.
    pub fn dto(&self) -> dto::Checksum {
        let get = |algorithm| self.get(algorithm).map(str::to_owned);
        let kind = if self.composite { dto::ChecksumType::COMPOSITE } else { dto::ChecksumType::FULL_OBJECT };
        dto::Checksum {
            checksum_crc32: get(Algorithm::Crc32),
            checksum_crc32c: get(Algorithm::Crc32c),
            checksum_crc64nvme: get(Algorithm::Crc64nvme),
            checksum_sha1: get(Algorithm::Sha1),
            checksum_sha256: get(Algorithm::Sha256),
            checksum_type: (!self.sums.is_empty()).then(|| dto::ChecksumType::from_static(kind)),
        }
    }

    /// Whether everything that `said` states is so.
    pub fn agree_with(&self, said: &Checksums) -> bool {
        said.sums.iter().all(|(algorithm, sum)| self.get(*algorithm) == Some(sum))
    }

    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.sums.iter().map(|(algorithm, _)| *algorithm)
    }
}

impl From<dto::Checksum> for Checksums {
    fn from(sums: dto::Checksum) -> Self {
        let all = [
            (Algorithm::Crc32, sums.checksum_crc32),
            (Algorithm::Crc32c, sums.checksum_crc32c),
            (Algorithm::Crc64nvme, sums.checksum_crc64nvme),
            (Algorithm::Sha1, sums.checksum_sha1),
            (Algorithm::Sha256, sums.checksum_sha256),
        ];
        Self { sums: all.into_iter().filter_map(|(a, sum)| Some((a, sum?))).collect(), composite: false }
    }
}

/// The checksum fields of a request, whatever its type is.
macro_rules! said {
    ($input:expr) => {
        $crate::objects::checksums::Checksums::from(s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32.clone(),
            checksum_crc32c: $input.checksum_crc32c.clone(),
            checksum_crc64nvme: $input.checksum_crc64nvme.clone(),
            checksum_sha1: $input.checksum_sha1.clone(),
            checksum_sha256: $input.checksum_sha256.clone(),
            checksum_type: None,
        })
    };
}
pub(super) use said;

/// What a client says of the body that it sends.
#[derive(Default)]
pub(super) struct Expected {
    pub bytes: Option<u64>,
    pub md5: Option<String>,
    pub sums: Checksums,
    /// Computed though nothing is said yet: asked for, or said in the trailer.
    pub compute: Vec<Algorithm>,
    pub trailer: Option<TrailingHeaders>,
    /// What the trailer was announced to say.
    pub announced: Vec<Algorithm>,
}

impl Expected {
    /// From a request's headers: lengths, MD5, checksums, the announced trailer and the algorithm asked for.
    pub fn of<T>(
        req: &s3s::S3Request<T>,
        content_length: Option<i64>,
        md5: Option<String>,
        sums: Checksums,
        asked: Option<&dto::ChecksumAlgorithm>,
    ) -> Result<Self, S3Error> {
        let text = |name: &str| req.headers.get(name).and_then(|value| value.to_str().ok());
        let decoded = text("x-amz-decoded-content-length").and_then(|length| length.parse().ok());
        let trailer = text("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let announced: Vec<_> =
            Algorithm::ALL.into_iter().filter(|a| trailer.split(',').any(|name| name.trim() == a.header())).collect();
        let mut compute: Vec<_> = announced.iter().copied().chain(sums.algorithms()).collect();
        if let Some(asked) = asked {
            compute.push(Algorithm::parse(asked.as_str())?);
        }
        Ok(Self {
            bytes: decoded.or_else(|| content_length.and_then(|length| u64::try_from(length).ok())),
            md5,
            sums,
            compute,
            trailer: req.trailing_headers.clone(),
            announced,
        })
    }

    pub fn hasher(&self) -> Sums {
        Sums::of(self.compute.iter().copied())
    }

    /// Compares the length and MD5 that were said with what came.
    pub fn verify(&self, bytes: u64, digest: &[u8; 16]) -> Result<(), S3Error> {
        if self.bytes.is_some_and(|said| said != bytes) {
            return Err(s3_error!(IncompleteBody, "the body has {bytes} bytes"));
        }
        if let Some(md5) = &self.md5 {
            let said = STANDARD.decode(md5).map_err(|_| s3_error!(InvalidDigest, "Content-MD5 is not base64"))?;
            if said.len() != 16 {
                return Err(s3_error!(InvalidDigest, "Content-MD5 is not 16 bytes"));
            }
            if said != digest {
                return Err(s3_error!(BadDigest, "the body does not match Content-MD5"));
            }
        }
        Ok(())
    }

    /// Compares the checksums that were said, in headers or trailer, with what came; gives those to keep.
    pub fn verify_sums(&self, sums: Sums) -> Result<Checksums, S3Error> {
        let computed = sums.finish();
        let mismatch = |name: &str| s3_error!(BadDigest, "the body does not match its {name}");
        for (algorithm, said) in &self.sums.sums {
            if computed.get(*algorithm) != Some(said) {
                return Err(mismatch(algorithm.header()));
            }
        }
        for algorithm in &self.announced {
            let header = algorithm.header();
            let read = |trailer: &TrailingHeaders| {
                trailer.read(|headers| headers.get(header).and_then(|v| v.to_str().ok()).map(str::to_owned)).flatten()
            };
            match self.trailer.as_ref().and_then(read) {
                None => return Err(s3_error!(InvalidRequest, "the trailer {header} was announced and did not come")),
                Some(said) if computed.get(*algorithm) != Some(said.trim()) => return Err(mismatch(header)),
                Some(_) => {}
            }
        }
        Ok(computed)
    }
}

/// The checksum of a multipart object over the checksums of its parts, as S3 defines it.
pub(super) fn composite(algorithm: Algorithm, parts: &[Checksums]) -> Option<Checksums> {
    let mut sums = Sums::of([algorithm]);
    for part in parts {
        sums.update(&STANDARD.decode(part.get(algorithm)?).ok()?);
    }
    let sum = format!("{}-{}", sums.finish().get(algorithm)?, parts.len());
    Some(Checksums::single(algorithm, sum, true))
}
