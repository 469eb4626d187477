#!/bin/bash
# PBS job that works on one campaign until it is complete. Edit the lines marked <-- and submit from the folder
# of the campaign file:
#   qsub -v CAMPAIGN=campaign.yaml,RUN=run pbs.sh
# It stops in time and submits itself again. Where jobs may not do that, submit a chain of jobs, of which one
# runs at a time and each goes on where the last one stopped:
#   qsub -J 1-8%1 -v CAMPAIGN=campaign.yaml,RUN=run pbs.sh
#PBS -N snapuq
#PBS -l select=1:ncpus=32:mpiprocs=32     # <-- one rank per core
#PBS -l walltime=04:00:00                 # <--

set -euo pipefail
cd "$PBS_O_WORKDIR"
usage="usage: qsub -v CAMPAIGN=campaign.yaml,RUN=run pbs.sh"
: "${CAMPAIGN:?$usage}" "${RUN:?$usage}"

# The modules that mpi4py and LAMMPS were built with.
# module load mpich lammps        # <--
source "$HOME/snapuq-env/bin/activate"    # <--

# One thread per rank, or the ranks take each other's cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

snapuq doctor
left=0
mpirun -n "$(wc -l < "$PBS_NODEFILE")" snapuq run "$CAMPAIGN" --output "$RUN" \
  --set campaign.drain="100 s" --time-limit "3 h 55 min" || left=$?     # <-- a little less than walltime
# Status 3: stopped in time before its campaign. 0 also when the campaign was stopped in time: then tasks are
# left, which is a 3 too. Any other ends the job here.
if [ "$left" -eq 0 ]; then
  snapuq status "$RUN" || left=$?
fi
if [ "$left" -ne 0 ] && [ "$left" -ne 3 ]; then
  exit "$left"
fi
if [ "$left" -eq 3 ] && [ -z "${PBS_ARRAY_INDEX:-}" ]; then
  qsub -v "CAMPAIGN=$CAMPAIGN,RUN=$RUN" pbs.sh
fi
