#!/bin/bash
# SLURM job for one campaign. Edit the lines marked <-- and submit from the folder of the campaign file:
#   sbatch slurm.sh campaign.yaml
#SBATCH --job-name=snapuq
#SBATCH --nodes=1                 # <--
#SBATCH --ntasks-per-node=32      # <-- one rank per core
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00           # <--

set -euo pipefail
: "${1:?usage: sbatch slurm.sh campaign.yaml [snapuq options]}"

# The modules that mpi4py and LAMMPS were built with.
# module load mpich lammps        # <--
source "$HOME/snapuq-env/bin/activate"    # <--

# One thread per rank, or the ranks take each other's cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

snapuq doctor
snapuq check "$@"
# Where mpirun is the site's launcher: mpirun -n "$SLURM_NTASKS" snapuq run "$@"
srun snapuq run "$@"
