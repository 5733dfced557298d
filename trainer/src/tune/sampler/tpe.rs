//! The tree-structured Parzen estimator (Bergstra et al. 2011), multivariate (Falkner et al. 2018, section 3.2): the trials are
//! parted into good ones and the rest; each part's parameters get a mixture of kernels, one around each trial; of some
//! candidates drawn from the good mixture the one is tried that is likeliest there, compared with the rest.
//!
//! Parameters that are active together are drawn together. A kernel is as wide, in each parameter, as the way to the farther one of
//! its two neighbours in that parameter (Bergstra et al. 2011, section 4), within bounds: narrow where trials are dense. Older trials
//! weigh less beyond the newest twenty-five (Watanabe 2023, "Tree-Structured Parzen Estimator: Understanding Its Algorithm
//! Components", section 3.2).

use fastrand::Rng;

use super::{Domain, Parameters, Past, Space, Value, half_width, kernel::Kernel, place, random, scale, unscale};
use crate::tune::{pareto, space::Parameter};

/// Trials that are drawn at random first.
const FIRST: usize = 10;
/// Candidates that are compared.
const CANDIDATES: usize = 24;
/// At most so many trials are good ones.
const GOOD_MAX: usize = 25;
/// The newest so many trials weigh all the same.
const FULL: usize = 25;
/// No kernel is narrower than the range divided by this, nor by the number of kernels and one.
const NARROWEST: f64 = 100.0;

/// Draws.
pub fn draw(space: &Space, past: &[Past], dice: &mut Rng) -> Parameters {
    let judged: Vec<&Past> = past.iter().filter(|one| one.outcome.is_some() || one.pruned.is_some()).collect();
    if judged.len() < FIRST {
        return random(space, dice);
    }
    let (good, rest) = parted(&judged);
    let mut drawn = Parameters::new();
    let mut left: Vec<&Parameter> = space.parameters.iter().collect();
    while !left.is_empty() {
        // Those whose conditions are known by now; they are drawn together, by condition.
        let known =
            |parameter: &&Parameter| parameter.when.keys().all(|name| !left.iter().any(|one| one.name == *name));
        let ready: Vec<&Parameter> = left.iter().copied().filter(|parameter| known(parameter)).collect();
        left.retain(|parameter| !ready.iter().any(|one| one.name == parameter.name));
        for group in together(ready) {
            if group[0].is_active(&drawn) {
                drawn.extend(best(&group, &good, &rest, dice));
            }
        }
        if drawn.is_empty() {
            break; // a space without unconditional parameters has been refused before
        }
    }
    drawn
}

/// By the same conditions.
fn together(ready: Vec<&Parameter>) -> Vec<Vec<&Parameter>> {
    let mut groups: Vec<Vec<&Parameter>> = Vec::new();
    for parameter in ready {
        match groups.iter_mut().find(|group| group[0].when == parameter.when) {
            Some(group) => group.push(parameter),
            None => groups.push(vec![parameter]),
        }
    }
    groups
}

/// A tenth, rounded up, is good: feasible ones before others, complete ones before pruned ones, and of two objectives those that
/// are dominated by fewer.
fn parted<'p>(judged: &[&'p Past]) -> (Vec<&'p Past>, Vec<&'p Past>) {
    let good = judged.len().div_ceil(10).min(GOOD_MAX);
    let ranks = pareto::ranks(judged);
    let mut order: Vec<usize> = (0..judged.len()).collect();
    order.sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]).then(a.cmp(b)));
    let mut is_good = vec![false; judged.len()];
    order.into_iter().take(good).for_each(|at| is_good[at] = true);
    // In the order of time, by which they weigh.
    let of = |wanted: bool| judged.iter().zip(&is_good).filter(|(_, is)| **is == wanted).map(|(one, _)| *one).collect();
    (of(true), of(false))
}

fn best(group: &[&Parameter], good: &[&Past], rest: &[&Past], dice: &mut Rng) -> Vec<(String, Value)> {
    let (good, rest) = (Mixture::new(group, good), Mixture::new(group, rest));
    let candidates = (0..CANDIDATES).map(|_| {
        let candidate = good.draw(dice);
        (good.log_density(&candidate) - rest.log_density(&candidate), candidate)
    });
    let best = candidates.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let places = best.map(|(_, places)| places).unwrap_or_default();
    group.iter().zip(places).map(|(parameter, at)| (parameter.name.clone(), value(&parameter.domain, at))).collect()
}

fn value(domain: &Domain, at: f64) -> Value {
    match domain {
        Domain::Choice(values) => values[(at as usize).min(values.len() - 1)].clone(),
        domain => unscale(domain, at),
    }
}

/// A mixture of kernels, one around each trial and one over everything.
struct Mixture {
    log_weights: Vec<f64>,
    cumulated: Vec<f64>,
    /// `[parameter][component]`.
    parts: Vec<Parts>,
}

/// One parameter's kernels.
enum Parts {
    Number(Domain, Vec<Kernel>),
    /// `[component][choice]`: cumulated and logarithmic probabilities.
    Choice(Vec<Vec<f64>>),
}

impl Mixture {
    fn new(group: &[&Parameter], past: &[&Past]) -> Self {
        let active = |one: &&&Past| group.iter().all(|parameter| one.parameters.contains_key(&parameter.name));
        let past: Vec<&Past> = past.iter().filter(active).copied().collect();
        let weights = weights(past.len());
        let total: f64 = weights.iter().sum();
        let cumulated = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        let parts = group.iter().map(|parameter| Parts::new(parameter, &past)).collect();
        let cumulated = cumulated.collect();
        Self { log_weights: weights.iter().map(|weight| (weight / total).ln()).collect(), cumulated, parts }
    }

    fn draw(&self, dice: &mut Rng) -> Vec<f64> {
        let at = dice.f64();
        let component = self.cumulated.partition_point(|sum| *sum < at).min(self.cumulated.len() - 1);
        self.parts.iter().map(|part| part.draw(component, dice)).collect()
    }

    fn log_density(&self, places: &[f64]) -> f64 {
        let mut logs = self.log_weights.clone();
        for (part, at) in self.parts.iter().zip(places) {
            part.add_log_density(*at, &mut logs);
        }
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
    }
}

/// The newest weigh one, older ones less; the last is the kernel over everything.
fn weights(n: usize) -> Vec<f64> {
    let older = n.saturating_sub(FULL);
    let ramp = (0..older).map(|at| {
        let least = 1.0 / n as f64;
        if older == 1 { least } else { least + (1.0 - least) * at as f64 / (older - 1) as f64 }
    });
    ramp.chain(std::iter::repeat_n(1.0, n - older)).chain([1.0]).collect()
}

/// Of each place the way to the farther one of its neighbours; the ends of the range are neighbours only where there is no other.
fn widths(places: &[f64], (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut widths = vec![0.0; places.len()];
    for (at, place) in order.iter().enumerate() {
        let of = |at: usize| places[order[at]];
        let before = (at > 0).then(|| of(at) - of(at - 1));
        let behind = (at + 1 < order.len()).then(|| of(at + 1) - of(at));
        widths[*place] = match (before, behind) {
            (Some(before), Some(behind)) => before.max(behind),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => (of(at) - low).max(high - of(at)),
        };
    }
    widths
}

impl Parts {
    fn new(parameter: &Parameter, past: &[&Past]) -> Self {
        let name = &parameter.name;
        if let Domain::Choice(values) = &parameter.domain {
            let even = 1.0 / (past.len() + 1) as f64;
            let of = |one: Option<&&Past>| {
                let chosen =
                    one.and_then(|one| values.iter().position(|value| one.parameters.get(name) == Some(value)));
                let mut shares = vec![even; values.len()];
                if let Some(chosen) = chosen {
                    shares[chosen] += 1.0;
                }
                let total: f64 = shares.iter().sum();
                shares.into_iter().map(|share| (share / total).ln()).collect::<Vec<f64>>()
            };
            return Self::Choice(past.iter().map(|one| of(Some(one))).chain([of(None)]).collect());
        }
        let (low, high) = scale(&parameter.domain);
        let range = high - low;
        let middles: Vec<f64> = past
            .iter()
            .map(|one| {
                one.parameters.get(name).and_then(|value| place(&parameter.domain, value)).unwrap_or(low + range / 2.0)
            })
            .collect();
        let narrowest = range / NARROWEST.min(2.0 + past.len() as f64);
        let widths = widths(&middles, (low, high));
        let around = middles
            .iter()
            .zip(widths)
            .map(|(middle, width)| Kernel::new(*middle, width.clamp(narrowest, range), (low, high)));
        let over_all = Kernel::new(low + range / 2.0, range, (low, high));
        Self::Number(parameter.domain.clone(), around.chain([over_all]).collect())
    }

    fn draw(&self, component: usize, dice: &mut Rng) -> f64 {
        match self {
            Self::Number(domain, kernels) => {
                let at = kernels[component].draw(dice);
                // As the value that it becomes.
                place(domain, &unscale(domain, at)).unwrap_or(at)
            }
            Self::Choice(shares) => {
                let mut left = dice.f64();
                let of = &shares[component];
                let chosen = of.iter().position(|log| {
                    left -= log.exp();
                    left < 0.0
                });
                chosen.unwrap_or(of.len() - 1) as f64
            }
        }
    }

    fn add_log_density(&self, at: f64, logs: &mut [f64]) {
        match self {
            Self::Number(domain, kernels) => {
                let within = half_width(domain, at);
                let is_point = within.0 == within.1;
                for (log, kernel) in logs.iter_mut().zip(kernels) {
                    *log += if is_point { kernel.log_density(at) } else { kernel.log_mass(within) };
                }
            }
            Self::Choice(shares) => {
                logs.iter_mut().zip(shares).for_each(|(log, shares)| *log += shares[at as usize]);
            }
        }
    }
}
