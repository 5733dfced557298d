//! Random ids, and pauses that clients which failed together do not share.

use std::{cell::Cell, time::Duration};

thread_local! {
    /// What a simulation on this thread draws from.
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// While it lives, everything random on this thread follows from a seed: for simulators.
pub struct Seeded(());

impl Seeded {
    /// Begins.
    pub fn with(seed: u64) -> Self {
        SEEDED.set(Some(seed));
        Self(())
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(None);
    }
}

/// Fills a buffer: from the operating system.
fn fill(buffer: &mut [u8]) -> Result<(), getrandom::Error> {
    let Some(mut state) = SEEDED.get() else { return getrandom::fill(buffer) };
    for chunk in buffer.chunks_mut(8) {
        // SplitMix64, <https://doi.org/10.1145/2714064.2660195>
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
    }
    SEEDED.set(Some(state));
    Ok(())
}

/// 128 random bits.
pub fn random_u128() -> Result<u128, getrandom::Error> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// 128 random bits as 32 hex digits.
pub(crate) fn hex_id() -> Result<String, getrandom::Error> {
    Ok(format!("{:032x}", random_u128()?))
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
        let _ = fill(&mut byte);
        tokio::time::sleep(self.next.mul_f64(1.0 - f64::from(byte[0]) / 512.0)).await;
        self.next = (self.next * 2).min(self.longest);
    }
}
