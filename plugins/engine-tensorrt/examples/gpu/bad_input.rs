//! What the GPU must refuse, and how.

use cudarc::driver::{CudaContext, result};
use engine_tensorrt::Session;
use inference::{Batch, Engine, EngineError, Package};

use crate::{Bench, correct::noise, report::Report};

/// A batch beyond the profile, a plan that is torn or of something else, and a GPU without room.
pub fn check(bench: &Bench, package: &Package, report: &mut Report) {
    let mut session = bench.session(package, 8).unwrap();
    let classes = package.classes().len();
    let input = noise(9 * package.tensor_len(), 4);
    let beyond = session.run(Batch { input: &input, n: 9 }, &mut vec![0.0; 9 * classes], None);
    let refused = matches!(beyond, Err(EngineError::BatchSize { n: 9, max: 8 }));
    report.must(refused, format!("a batch of 9 on an engine of 8: {beyond:?}"));

    let factory = engine_tensorrt::TensorRt::new(bench.options.clone());
    let key = factory.key(package, &bench.library, Some(&bench.device)).unwrap();
    let plan = factory.plan(package, &bench.library, &key).unwrap();
    for (what, bytes) in [("torn", &plan[..plan.len() / 2]), ("not a plan", &noise(plan.len(), 5)[..])] {
        let answer = Session::load(&bench.library, &bench.device, package, bytes, key.profile);
        let said = answer.err().map(|refusal| refusal.full());
        report.must(said.is_some(), format!("a plan that is {what}: {said:?}"));
    }
    no_room(bench, package, report);
}

/// Takes nearly all of the GPU's memory by plain allocations, then loads.
fn no_room(bench: &Bench, package: &Package, report: &mut Report) {
    let context = CudaContext::new(bench.device.ordinal).unwrap();
    context.bind_to_thread().unwrap();
    let mut taken = Vec::new();
    for piece in [1usize << 30, 64 << 20, 4 << 20] {
        // SAFETY: a context is current; what is taken is freed below.
        while let Ok(pointer) = unsafe { result::malloc_sync(piece) } {
            taken.push(pointer);
        }
    }
    let said = bench.session(package, 128).err().map(|refusal| refusal.full());
    for pointer in taken {
        // SAFETY: `malloc_sync` gave it and nothing uses it.
        unsafe { result::free_sync(pointer) }.unwrap();
    }
    report.must(said.is_some(), format!("a GPU without room: {said:?}"));
    let again = bench.session(package, 8).map(drop).map_err(|refusal| refusal.full());
    report.must(again.is_ok(), format!("with room again: {again:?}"));
}
