//! What a training step costs: `step ARCHITECTURE SIDE CHANNELS BATCH STEPS`, CPU and wall time a step.

use std::time::Instant;

use burn::tensor::Device;
use trainer::net::{Architecture, Input, Size, Weights, forward};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    trainer::train::memory::keep();
    let mut args = std::env::args().skip(1);
    let architecture: Architecture = args.next().unwrap_or("mini-resnet".into()).parse()?;
    let mut number = |usual: usize| args.next().map_or(Ok(usual), |text| text.parse());
    let (side, channels, batch, steps) = (number(28)?, number(1)?, number(64)?, number(50)?);
    let input = Input { width: side, height: side, channels };
    let net = architecture.net(Size::Medium, input, 10);
    let weights = Weights::seeded(&net, 1);
    let device = Device::flex();
    let mut dice = fastrand::Rng::with_seed(1);
    let pictures: Vec<f32> = (0..batch * input.len()).map(|_| dice.f32()).collect();
    let mut targets = vec![0.0; batch * 10];
    (0..batch).for_each(|at| targets[at * 10 + dice.usize(0..10)] = 1.0);
    let mut losses = Vec::new();
    let cpu = || nix_cpu();
    let (begun, used) = (Instant::now(), cpu());
    for _ in 0..steps {
        losses.push(forward::learn(&net, &weights, pictures.clone(), targets.clone(), &device).loss);
    }
    let (wall, used) = (begun.elapsed().as_secs_f64(), cpu() - used);
    let each = 1e3 / steps as f64;
    eprintln!(
        "{architecture} {side}x{side}x{channels}, batch {batch}, {} parameters: {:.1} ms CPU, {:.1} ms wall a step",
        net.parameters(),
        used * each,
        wall * each
    );
    Ok(())
}

/// CPU seconds of this process so far.
fn nix_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
