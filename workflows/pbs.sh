#!/bin/bash
# PBS job for one campaign. Edit the lines marked <-- and submit from the folder of the campaign file:
#   qsub -v CAMPAIGN=campaign.yaml pbs.sh
#PBS -N snapuq
#PBS -l select=1:ncpus=32:mpiprocs=32     # <-- one rank per core
#PBS -l walltime=04:00:00                 # <--

set -euo pipefail
cd "$PBS_O_WORKDIR"
: "${CAMPAIGN:?usage: qsub -v CAMPAIGN=campaign.yaml pbs.sh}"

# The modules that mpi4py and LAMMPS were built with.
# module load mpich lammps        # <--
source "$HOME/snapuq-env/bin/activate"    # <--

# One thread per rank, or the ranks take each other's cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

snapuq doctor
snapuq check "$CAMPAIGN"
mpirun -n "$(wc -l < "$PBS_NODEFILE")" snapuq run "$CAMPAIGN"
