//! What ONNX Runtime computes with: its own CPU code, or CUDA's libraries on an NVIDIA GPU.

use ort::{
    ep,
    ep::cuda::ConvAlgorithmSearch,
    session::{Session, builder::GraphOptimizationLevel},
};

use crate::{CUDA, NAME, runtime::Runtime};

const MAX_BATCH: usize = 16;
const MAX_BATCH_BYTES: usize = 256 << 10;
const MAX_BATCH_GPU: usize = 32;

/// An execution provider, with its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The CPU.
    Cpu,
    /// The GPU with this number.
    Cuda(usize),
}

impl Provider {
    /// The engine's name.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Cpu => NAME,
            Provider::Cuda(_) => CUDA,
        }
    }

    /// The device for people.
    pub fn device(self) -> String {
        match self {
            Provider::Cpu => "the CPU".into(),
            Provider::Cuda(ordinal) => format!("GPU {ordinal}"),
        }
    }

    /// A session of the model. The provider is registered strictly: what it cannot do is an error, not a CPU's work.
    pub fn session(self, runtime: &Runtime, model: &[u8]) -> ort::Result<Session> {
        match self {
            Provider::Cpu => cpu(runtime, model),
            Provider::Cuda(ordinal) => cuda(runtime, model, ordinal),
        }
    }

    /// How many tensors go into a batch when nobody said. On the CPU at most [`MAX_BATCH`], and of large inputs as many
    /// as fit in [`MAX_BATCH_BYTES`]: on one thread a batch of 16 of the tiny model costs 7 % less CPU a tensor than one
    /// alone; of EfficientNet-Lite0 it costs the same, and 13 MB for each tensor. A GPU is idle with few.
    pub fn usual_batch(self, tensor_len: usize) -> usize {
        match self {
            Provider::Cpu => (MAX_BATCH_BYTES / tensor_len.max(1)).clamp(1, MAX_BATCH),
            Provider::Cuda(_) => MAX_BATCH_GPU,
        }
    }
}

/// One thread, sequential, no spinning: what costs least CPU a frame when many small models share a gateway. The memory
/// pattern (on by default) and the arena are worth 1 to 3 %; weights outside the arena, and what loading needed given
/// back, make 68 MB of 111 MB resident with EfficientNet-Lite0 (`cargo run --example measure`).
fn cpu(runtime: &Runtime, model: &[u8]) -> ort::Result<Session> {
    Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_execution_providers([ep::CPU::default().with_arena_allocator(true).build().error_on_failure()])?
        .with_device_allocated_initializers()?
        .commit_from_memory(model)
}

/// No node may fall to the CPU unseen. The heuristic finds a convolution's algorithm without trying them all, which
/// would stop a gateway for tenths of a second at each batch size that it meets first.
fn cuda(runtime: &Runtime, model: &[u8], ordinal: usize) -> ort::Result<Session> {
    let provider = ep::CUDA::default()
        .with_device_id(i32::try_from(ordinal).unwrap_or(i32::MAX))
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_config_entry("session.disable_cpu_ep_fallback", "1")?
        .with_execution_providers([provider.build().error_on_failure()])?
        .commit_from_memory(model)
}
