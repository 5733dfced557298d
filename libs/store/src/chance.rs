//! Random ids, and pauses that clients which failed together do not share.

use std::time::Duration;

/// 128 random bits as 32 hex digits.
pub(crate) fn hex_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Pauses that double up to a limit, each shortened at random by up to a half.
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    pub async fn pause(&mut self) {
        let mut byte = [0];
        // Without randomness the pause is just not shortened.
        let _ = getrandom::fill(&mut byte);
        tokio::time::sleep(self.next.mul_f64(1.0 - f64::from(byte[0]) / 512.0)).await;
        self.next = (self.next * 2).min(self.longest);
    }
}
