#!/bin/bash
# SLURM job that works on one campaign until it is complete. Edit the lines marked <-- and submit:
#   sbatch slurm.sh campaign.yaml RUN [snapuq options]
# Two minutes before its end the job is told, waits for the tasks that run, and queues itself again. Where
# jobs may not do that, submit a chain of jobs, of which one runs at a time and each goes on where the last
# one stopped:
#   sbatch --array=1-8%1 slurm.sh campaign.yaml RUN
#SBATCH --job-name=snapuq
#SBATCH --nodes=1                 # <--
#SBATCH --ntasks-per-node=32      # <-- one rank per core
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00           # <--
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
usage="usage: sbatch slurm.sh campaign.yaml RUN [snapuq options]"
campaign="${1:?$usage}" run="${2:?$usage}"
shift 2

# The modules that mpi4py and LAMMPS were built with.
# module load mpich lammps        # <--
source "$HOME/snapuq-env/bin/activate"    # <--

# One thread per rank, or the ranks take each other's cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

snapuq doctor
# SLURM tells this script, which passes it on and remembers it: launchers do not agree on the status of ranks
# that were stopped. Where mpirun is the site's launcher, it takes the place of srun:  mpirun -n "$SLURM_NTASKS"
srun snapuq run "$campaign" --output "$run" --set campaign.drain="100 s" "$@" &    # <--
pid=$! asked="" left=0
trap 'asked=yes; kill -USR1 "$pid"' USR1
wait "$pid" || left=$?
# The signal ends the wait, not the run. Any status but 0 means that it was stopped before or after its campaign.
if [ -n "$asked" ]; then
  left=0
  wait "$pid" || left=3
fi
# Status 0 also when the campaign was stopped in time: then tasks are left, which is a 3 too.
if [ "$left" -eq 0 ]; then
  snapuq status "$run" || left=$?
fi
if [ "$left" -ne 0 ] && [ "$left" -ne 3 ]; then
  exit "$left"
fi
if [ "$left" -eq 3 ] && [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
