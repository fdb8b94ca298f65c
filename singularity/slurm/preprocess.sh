#!/bin/bash
# Preprocess one participant a task, without a GPU.
#   sbatch --array=1-"$(. ./study.sh; participants | wc -l)"%100 preprocess.sh
#SBATCH --job-name=mmh-preprocess
#SBATCH --cpus-per-task=2
#SBATCH --mem=6G
#SBATCH --time=01:00:00
#SBATCH --output=%x-%A_%a.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
. ./study.sh

participant=$(participants | sed -n "${SLURM_ARRAY_TASK_ID}p")
if [ -z "$participant" ]; then
  echo "participants.tsv has no line $SLURM_ARRAY_TASK_ID: the array is too long." >&2
  exit 64
fi
record preprocess
APPTAINER_OPTIONS=()
bids_mmh participant --participant-label "$participant" --preproc-only --skip-bids-validation \
  --nprocs "$SLURM_CPUS_PER_TASK" --omp-nthreads 1
