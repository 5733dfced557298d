//! What the GPU must refuse, and how.

use cudarc::driver::{CudaContext, result};
use engine_tensorrt::{Session, TensorRt, library};
use inference::{Batch, EngineError, Package};

use crate::{Subject, correct::noise, report::Report};

/// A batch beyond the profile, a plan that is torn or of something else, and a GPU without room.
pub fn check(subject: &Subject, package: &Package, report: &mut Report) {
    let mut engine = subject.load(package, 8).unwrap();
    let classes = package.classes().len();
    let input = noise(9 * package.tensor_len(), 4);
    let beyond = engine.run(Batch { input: &input, n: 9 }, &mut vec![0.0; 9 * classes], None);
    let refused = matches!(beyond, Err(EngineError::BatchSize { n: 9, max: 8 }));
    report.must(refused, format!("a batch of 9 on an engine of 8: {beyond:?}"));

    drop(engine);
    if subject.is_tensorrt() {
        broken_plans(subject, package, report);
    }
    no_room(subject, package, report);
}

fn broken_plans(subject: &Subject, package: &Package, report: &mut Report) {
    let gpu = nvidia::look(&subject.options.driver, 0).unwrap();
    let library = library::open(None).unwrap();
    let factory = TensorRt::new(subject.options.clone());
    let key = factory.key(package, &library, Some(&gpu)).unwrap();
    let plan = factory.plan(package, &library, &key).unwrap();
    for (what, bytes) in [("torn", &plan[..plan.len() / 2]), ("not a plan", &noise(plan.len(), 5)[..])] {
        let answer = Session::load(&library, &gpu, package, bytes, key.profile);
        let said = answer.err().map(|refusal| refusal.full());
        report.must(said.is_some(), format!("a plan that is {what}: {said:?}"));
    }
}

/// Takes nearly all of the GPU's memory by plain allocations, then loads.
fn no_room(subject: &Subject, package: &Package, report: &mut Report) {
    let context = CudaContext::new(0).unwrap();
    context.bind_to_thread().unwrap();
    let mut taken = Vec::new();
    for piece in [1usize << 30, 64 << 20, 4 << 20] {
        // SAFETY: a context is current; what is taken is freed below.
        while let Ok(pointer) = unsafe { result::malloc_sync(piece) } {
            taken.push(pointer);
        }
    }
    let said = subject.load(package, 128).err().map(|refusal| refusal.full());
    for pointer in taken {
        // SAFETY: `malloc_sync` gave it and nothing uses it.
        unsafe { result::free_sync(pointer) }.unwrap();
    }
    report.must(said.is_some(), format!("a GPU without room: {said:?}"));
    let again = subject.load(package, 8).map(drop).map_err(|refusal| refusal.full());
    report.must(again.is_ok(), format!("with room again: {again:?}"));
}
