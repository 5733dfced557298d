//! Truncated normals: their mass, density and draws.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use fastrand::Rng;

/// The standard normal's distribution function.
pub fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// A normal cut off at both ends of a range.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    middle: f64,
    deviation: f64,
    from: f64,
    mass: f64,
}

impl Kernel {
    /// Around `middle`, within `low..high`.
    pub fn new(middle: f64, deviation: f64, (low, high): (f64, f64)) -> Self {
        let from = below((low - middle) / deviation);
        let mass = (below((high - middle) / deviation) - from).max(f64::MIN_POSITIVE);
        Self { middle, deviation, from, mass }
    }

    /// The logarithm of the density at `x`.
    pub fn log_density(&self, x: f64) -> f64 {
        let z = (x - self.middle) / self.deviation;
        -0.5 * z * z - (self.deviation * (2.0 * PI).sqrt()).ln() - self.mass.ln()
    }

    /// The logarithm of the mass in `from..to`.
    pub fn log_mass(&self, (from, to): (f64, f64)) -> f64 {
        let part = below((to - self.middle) / self.deviation) - below((from - self.middle) / self.deviation);
        (part / self.mass).max(f64::MIN_POSITIVE).ln()
    }

    /// A place drawn by it.
    pub fn draw(&self, dice: &mut Rng) -> f64 {
        self.middle + self.deviation * quantile(self.from + dice.f64() * self.mass)
    }
}

/// The standard normal's quantile: Acklam's rational approximation ("An algorithm for computing the inverse normal cumulative
/// distribution function", 2003), then one step of Halley's method, which leaves an error of some 1e-15.
pub fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    const TAIL: f64 = 0.024_25;
    let p = p.clamp(1e-300, 1.0 - f64::EPSILON / 2.0);
    let poly = |of: &[f64], x: f64| of.iter().fold(0.0, |sum, next| sum * x + next);
    let rough = if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / poly(&D, q)
    } else if p <= 1.0 - TAIL {
        let q = p - 0.5;
        poly(&A, q * q) * q / poly(&B, q * q)
    } else {
        let q = (-2.0 * (1.0 - p).ln()).sqrt();
        -poly(&C, q) / poly(&D, q)
    };
    let error = below(rough) - p;
    let step = error * (2.0 * PI).sqrt() * (rough * rough / 2.0).exp();
    if step.is_finite() { rough - step / (1.0 + rough * step / 2.0) } else { rough }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_undoes_the_distribution() {
        for x in [-7.5, -3.0, -1.96, -0.3, 0.0, 0.7, 2.5, 5.0] {
            assert!((quantile(below(x)) - x).abs() < 1e-6, "{x}: {}", quantile(below(x)));
        }
        assert!((below(1.959_963_984_540_054) - 0.975).abs() < 1e-12);
    }

    #[test]
    fn draws_lie_within_and_follow_the_density() {
        let kernel = Kernel::new(0.9, 0.3, (0.0, 1.0));
        let mut dice = Rng::with_seed(1);
        let draws: Vec<f64> = (0..40_000).map(|_| kernel.draw(&mut dice)).collect();
        assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
        let share = draws.iter().filter(|x| **x < 0.5).count() as f64 / 40_000.0;
        let mass = kernel.log_mass((0.0, 0.5)).exp();
        assert!((share - mass).abs() < 0.01, "{share} {mass}");
        let sum: f64 = (0..1000).map(|at| kernel.log_density((f64::from(at) + 0.5) / 1000.0).exp() / 1000.0).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }
}
