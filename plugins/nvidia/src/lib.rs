//! Looks for the NVIDIA driver and a GPU, with nothing but questions to the driver.
//!
//! Every engine on an NVIDIA GPU asks here first: without a driver a TensorRT runtime gives back a pointer that is not
//! null and crashes at its first use, and ONNX Runtime says only that a library is missing.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::{
    ffi::{CStr, c_char, c_int, c_uint},
    fmt,
    path::{Path, PathBuf},
};

use inference::Refusal;
use libloading::{Library, Symbol};

/// The driver's library, as the system's loader knows it.
pub const DRIVER: &str = "libcuda.so.1";

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY: [c_int; 2] = [75, 76];
const NO_DEVICE: c_int = 100;
const DRIVER_MISMATCH: c_int = 803;

/// A GPU that is there, with its driver. Who holds one from [`look`] may call a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number among the GPUs that the driver shows.
    pub ordinal: usize,
    /// Its name, as in `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its compute capability.
    pub capability: Capability,
    /// The newest CUDA that the driver serves: 1000 times the major version and 10 times the minor.
    pub cuda: i32,
}

impl Device {
    /// The driver's CUDA major version: an engine that was compiled under another is compiled again.
    pub fn driver_major(&self) -> i32 {
        self.cuda / 1000
    }
}

/// A GPU's architecture, as in 8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// The major number.
    pub major: i32,
    /// The minor number.
    pub minor: i32,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The GPU with this number, by the driver's library (usually [`DRIVER`]).
///
/// # Errors
/// The first thing that is missing, with what to do.
pub fn look(driver: &Path, ordinal: usize) -> Result<Device, Refusal> {
    let driver = Driver::open(driver)?;
    driver.check("cuInit", driver.init()?)?;
    let count = driver.count()?;
    if count == 0 {
        return Err(Refusal::new(NO_GPU));
    }
    if ordinal >= count {
        return Err(Refusal::new(format!(
            "there is no GPU {ordinal}: the driver shows {count}, numbered from 0; correct the number, or what \
             CUDA_VISIBLE_DEVICES lets be seen"
        )));
    }
    driver.device(ordinal)
}

const NO_GPU: &str =
    "the NVIDIA driver shows no GPU; look at `nvidia-smi`, and in a container pass the GPU in (`--gpus all`)";

/// The few calls of the driver that ask and change nothing.
struct Driver {
    library: Library,
    path: PathBuf,
}

type Init = unsafe extern "C" fn(c_uint) -> c_int;
type GetInt = unsafe extern "C" fn(*mut c_int) -> c_int;
type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type GetName = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type GetAttribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;

impl Driver {
    fn open(path: &Path) -> Result<Self, Refusal> {
        // SAFETY: the driver's initialisers only set up its own state; this is how every CUDA program begins.
        let library = unsafe { Library::new(path) }.map_err(|error| {
            Refusal::caused(
                format!(
                    "the NVIDIA driver's library `{}` cannot be opened: there is no driver here, or a container does \
                     not see it; install the driver, or leave this engine out of `engines.preference`",
                    path.display()
                ),
                error,
            )
        })?;
        Ok(Self { library, path: path.to_owned() })
    }

    /// A function by its name and C type.
    ///
    /// # Safety
    /// `T` must be the function's type.
    unsafe fn function<T>(&self, name: &str) -> Result<Symbol<'_, T>, Refusal> {
        // SAFETY: the caller's promise.
        unsafe { self.library.get(name) }.map_err(|error| {
            Refusal::caused(
                format!("`{}` has no function {name}: it is not NVIDIA's driver", self.path.display()),
                error,
            )
        })
    }

    fn init(&self) -> Result<c_int, Refusal> {
        // SAFETY: cuda.h declares it so; flags must be 0.
        Ok(unsafe { self.function::<Init>("cuInit")?(0) })
    }

    fn count(&self) -> Result<usize, Refusal> {
        let mut count = 0;
        // SAFETY: cuda.h declares it so; it writes one int.
        self.check("cuDeviceGetCount", unsafe { self.function::<GetInt>("cuDeviceGetCount")?(&mut count) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn device(&self, ordinal: usize) -> Result<Device, Refusal> {
        let mut cuda = 0;
        // SAFETY: cuda.h declares it so; it writes one int.
        self.check("cuDriverGetVersion", unsafe { self.function::<GetInt>("cuDriverGetVersion")?(&mut cuda) })?;
        let mut device = 0;
        let number = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        // SAFETY: cuda.h declares it so; it writes one CUdevice, which is an int.
        self.check("cuDeviceGet", unsafe { self.function::<Get>("cuDeviceGet")?(&mut device, number) })?;
        let mut name = [0 as c_char; 256];
        // SAFETY: cuda.h declares it so; it writes at most 256 bytes, the last of them 0.
        self.check("cuDeviceGetName", unsafe {
            self.function::<GetName>("cuDeviceGetName")?(name.as_mut_ptr(), 256, device)
        })?;
        name[255] = 0;
        // SAFETY: the array holds a 0.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let [major, minor] = CAPABILITY.map(|attribute| self.attribute(attribute, device));
        Ok(Device { ordinal, name, capability: Capability { major: major?, minor: minor? }, cuda })
    }

    fn attribute(&self, attribute: c_int, device: c_int) -> Result<i32, Refusal> {
        let mut value = 0;
        // SAFETY: cuda.h declares it so; it writes one int.
        self.check("cuDeviceGetAttribute", unsafe {
            self.function::<GetAttribute>("cuDeviceGetAttribute")?(&mut value, attribute, device)
        })?;
        Ok(value)
    }

    /// What the driver's answer means.
    fn check(&self, call: &str, answer: c_int) -> Result<(), Refusal> {
        match answer {
            0 => Ok(()),
            NO_DEVICE => Err(Refusal::new(NO_GPU)),
            DRIVER_MISMATCH => Err(Refusal::new(
                "the NVIDIA driver's library and its kernel module are of different versions; restart the machine \
                 after the driver's update, or give the container the host's own library",
            )),
            code => Err(Refusal::new(format!(
                "the NVIDIA driver answered {call} with error {code} ({}); look at `nvidia-smi` and `dmesg`",
                self.error(code)
            ))),
        }
    }

    fn error(&self, code: c_int) -> String {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: cuda.h declares it so; it writes a pointer to a static C string, or null.
        let known = unsafe { self.function::<ErrorString>("cuGetErrorString").map(|ask| ask(code, &mut text)) };
        if known.is_err() || text.is_null() {
            return "unknown".into();
        }
        // SAFETY: not null, so a static C string.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}
