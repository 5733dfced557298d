//! Faults for tests: a store that fails, delays, or lies about the success of what it did.

use std::{sync::Mutex, time::Duration};

use super::ErrorKind;

/// The operations that a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`super::Objects::put`] and [`super::Objects::put_file`].
    Put,
    /// [`super::Objects::get`], [`super::Objects::get_range`] and [`super::Objects::get_file`].
    Get,
    /// [`super::Objects::head`].
    Head,
    /// [`super::Objects::delete`] and [`super::Objects::delete_many`].
    Delete,
    /// [`super::Objects::list`].
    List,
    /// [`super::Objects::copy`].
    Copy,
    /// [`super::Objects::create_bucket`].
    CreateBucket,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "look at",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Copy => "copy",
            Self::CreateBucket => "create bucket for",
        }
    }
}

/// What happens to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and fails so.
    Fail(ErrorKind),
    /// It is done, and reported as timed out.
    DoneButTimedOut,
    /// It takes so much longer.
    Delay(Duration),
    /// It panics, as a mistake in this program would.
    Panic,
}

/// Faults to come, in order for each operation; shared with the test that plans them.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Vec<(Operation, Fault)>>,
}

impl Faults {
    /// The next `times` attempts at `operation` without an earlier plan meet this fault.
    pub fn plan(&self, operation: Operation, fault: Fault, times: usize) {
        self.lock().extend(std::iter::repeat_n((operation, fault), times));
    }

    /// How many faults are still to come.
    pub fn left(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn next(&self, operation: Operation) -> Option<Fault> {
        let mut plan = self.lock();
        let at = plan.iter().position(|(planned, _)| *planned == operation)?;
        Some(plan.remove(at).1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Operation, Fault)>> {
        self.plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
