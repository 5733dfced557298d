//! A GPU that is lost in mid-run: a kernel that traps makes every later call in the process fail. The engine must say
//! so, the process must live.

use cudarc::driver::{CudaContext, result};
use inference::{Batch, Engine, Health, Package};

use crate::{Subject, correct::noise, report::Report};

/// A kernel that only traps.
const TRAP: &[u8] = b".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry lost() { trap; }\n\0";

/// Runs, loses the GPU, runs again.
pub fn check(subject: &Subject, package: &Package, report: &mut Report) {
    let mut engine = subject.load(package, 8).unwrap();
    let input = noise(package.tensor_len(), 6);
    let mut out = vec![0.0; package.classes().len()];
    let mut run = |engine: &mut dyn Engine| engine.run(Batch { input: &input, n: 1 }, &mut out, None);
    run(engine.as_mut()).unwrap();
    let context = CudaContext::new(0).unwrap();
    context.bind_to_thread().unwrap();
    // SAFETY: TRAP is PTX text that ends with 0; the kernel takes no arguments.
    unsafe {
        let module = result::module::load_data(TRAP.as_ptr().cast()).unwrap();
        let function = result::module::get_function(module, c"lost".to_owned()).unwrap();
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).unwrap();
        result::launch_kernel(function, (1, 1, 1), (1, 1, 1), 0, stream, &mut []).unwrap();
        let _ = result::stream::synchronize(stream);
    }
    let first = run(engine.as_mut()).map_err(|error| full(&error));
    report.must(first.is_err(), format!("after the GPU was lost: {first:?}"));
    let second = run(engine.as_mut()).map_err(|error| full(&error));
    report.must(second.is_err(), format!("once more: {second:?}"));
    report.must(matches!(engine.health(), Health::Failing(_)), format!("health: {:?}", engine.health()));
    let again = subject.load(package, 8).err().map(|refusal| refusal.full());
    report.must(again.is_some(), format!("loading again in the same process is refused: {again:?}"));
    drop(engine);
    report.must(true, "the process lives".into());
}

fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
