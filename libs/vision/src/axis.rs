//! The triangle filter along one axis, in whole numbers only: the same coefficients on every machine.
//!
//! This is the filter part of the specification in [`crate::preprocess`]; change nothing here without a new version.

/// Least precision: a coefficient of 1.0 is `1 << 14`, which fits in an i16.
const PRECISION_MIN: u32 = 14;

/// What one axis of one plane's resize looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// First luma pixel of the region.
    pub start: u32,
    /// Luma pixels of the region.
    pub length: u32,
    /// Luma pixels that share one sample of this plane.
    pub sub: u32,
    /// Whether a sample sits on the first of the luma pixels that share it, not in their middle.
    pub cosited: bool,
    /// Samples of the plane along this axis, from sample 0.
    pub samples: u32,
    /// Pixels of the target.
    pub out: u32,
    /// Largest precision allowed.
    pub precision_max: u32,
}

impl Geometry {
    /// First sample that covers a part of the region.
    pub fn first(&self) -> u32 {
        self.start / self.sub
    }

    /// Number of samples that cover a part of the region.
    pub fn count(&self) -> u32 {
        (self.start + self.length).div_ceil(self.sub).min(self.samples) - self.first()
    }

    /// Whether the target has at most as many pixels as there are samples: each output then spans many samples.
    pub fn shrinks(&self) -> bool {
        self.length >= self.sub * self.out
    }

    /// Half the filter's base. All positions are in units of `1 / (2 * out)` luma pixels.
    fn support(&self) -> i64 {
        2 * i64::from(self.length.max(self.sub * self.out))
    }

    /// Centre of target pixel `i`.
    pub fn center(&self, i: u32) -> i64 {
        2 * i64::from(self.start) * i64::from(self.out) + (2 * i64::from(i) + 1) * i64::from(self.length)
    }

    /// Centre of sample `j`, counted from sample 0 of the plane.
    pub fn position(&self, j: u32) -> i64 {
        let offset = if self.cosited { 1 } else { i64::from(self.sub) };
        (2 * i64::from(self.sub) * i64::from(j) + offset) * i64::from(self.out)
    }

    /// The samples `[low, high)` whose weight in target pixel `i` is above zero.
    fn window(&self, i: u32) -> (u32, u32) {
        let step = 2 * i64::from(self.sub) * i64::from(self.out);
        let from_first = self.center(i) - self.position(self.first());
        let low = (from_first - self.support()).div_euclid(step) + 1;
        let high = -((-from_first - self.support()).div_euclid(step));
        let count = i64::from(self.count());
        let (low, high) = (low.clamp(0, count - 1), high.clamp(1, count));
        (self.first() + low as u32, self.first() + high as u32)
    }

    fn weight(&self, i: u32, j: u32) -> u64 {
        (self.support() - (self.position(j) - self.center(i)).abs()).max(0) as u64
    }
}

/// Which samples make one target pixel, and with which coefficients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    /// First sample, counted from [`Geometry::first`].
    pub start: u32,
    /// Number of samples.
    pub len: u32,
    /// Where its coefficients begin in [`Axis::coefficients`].
    at: u32,
}

/// The filter along one axis.
#[derive(Debug)]
pub(crate) struct Axis {
    /// One entry a target pixel.
    pub taps: Vec<Taps>,
    coefficients: Vec<i16>,
    /// The coefficients of a target pixel sum to `1 << precision`.
    pub precision: u32,
}

impl Axis {
    /// Computes the coefficients.
    pub fn new(geometry: &Geometry) -> Self {
        let mut precision = geometry.precision_max;
        for i in 0..geometry.out {
            let (low, high) = geometry.window(i);
            let sum: u64 = (low..high).map(|j| geometry.weight(i, j)).sum();
            let max = (low..high).map(|j| geometry.weight(i, j)).max().unwrap_or(0);
            while precision > PRECISION_MIN && (max << precision).div_ceil(sum) > i16::MAX as u64 {
                precision -= 1;
            }
        }
        let mut axis = Self { taps: Vec::with_capacity(geometry.out as usize), coefficients: Vec::new(), precision };
        for i in 0..geometry.out {
            axis.push(geometry, i);
        }
        axis
    }

    /// Coefficients are the steps of the rounded running sum, so that they sum to exactly 1 and errors do not add up.
    fn push(&mut self, geometry: &Geometry, i: u32) {
        let (low, high) = geometry.window(i);
        let sum: u64 = (low..high).map(|j| geometry.weight(i, j)).sum();
        let at = self.coefficients.len() as u32;
        let (mut running, mut before) = (0, 0);
        for j in low..high {
            running += geometry.weight(i, j);
            let now = ((running << self.precision) + sum / 2) / sum;
            self.coefficients.push((now - before) as i16);
            before = now;
        }
        self.taps.push(Taps { start: low - geometry.first(), len: high - low, at });
    }

    /// The coefficients of these taps.
    pub fn coefficients(&self, taps: &Taps) -> &[i16] {
        &self.coefficients[taps.at as usize..][..taps.len as usize]
    }

    /// The coefficient of sample `j` (counted from [`Geometry::first`]) in target pixel `i`; 0 outside its window.
    pub fn coefficient(&self, i: usize, j: u32) -> i16 {
        let taps = &self.taps[i];
        match j.checked_sub(taps.start) {
            Some(at) if at < taps.len => self.coefficients(taps)[at as usize],
            _ => 0,
        }
    }
}
