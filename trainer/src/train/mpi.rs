//! Ranks over MPI: started by `mpirun`, Kubeflow's MPIJob or Slurm, all alike.

use std::fmt;

use mpi::{
    Threading,
    environment::Universe,
    topology::SimpleCommunicator,
    traits::{Communicator as _, CommunicatorCollectives as _},
};

use super::ranks::{Lost, Ranks};

/// Environment variables that launchers set for each rank: Open MPI's, and those of PMI and PMIx, as Slurm has them.
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"];

/// One rank of an MPI job.
///
/// MPI is called by the thread that made this, and by no other. A rank that is gone ends the job: MPI's own error handler says
/// so and the launcher stops the others; the job is started again and goes on from its checkpoint.
pub struct Mpi {
    world: SimpleCommunicator,
    /// MPI ends with it.
    _universe: Universe,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl Mpi {
    /// This process's rank, where a launcher started it; `None` where nobody did.
    pub fn launched() -> Option<Self> {
        LAUNCHED.iter().any(|name| std::env::var_os(name).is_some()).then_some(())?;
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)?;
        Some(Self { world: universe.world(), _universe: universe })
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.world.rank().unsigned_abs() as usize
    }

    fn size(&self) -> usize {
        self.world.size().unsigned_abs() as usize
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, Lost> {
        let mut all = vec![0.0f32; mine.len() * self.size()];
        if !mine.is_empty() {
            self.world.all_gather_into(&mine[..], &mut all[..]);
        }
        Ok(all.chunks(mine.len().max(1)).map(<[f32]>::to_vec).collect())
    }
}
