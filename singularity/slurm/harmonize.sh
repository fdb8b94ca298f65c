#!/bin/bash
# Harmonize a slice of the participants a task, on one GPU, in one process: the libraries are loaded once for all of them.
# What preprocess.sh has left in the work folder is not done again.
#   sbatch --array=1-"$(. ./study.sh; echo "$SLICES")" harmonize.sh [--model /out/models/study ...]
#SBATCH --job-name=mmh-harmonize
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%A_%a.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
. ./study.sh

mapfile -t slice < <(participants | awk -v n="$SLICES" -v task="$SLURM_ARRAY_TASK_ID" 'NR % n == task % n')
record harmonize
if [ "${#slice[@]}" -eq 0 ]; then
  echo "There are fewer participants than slices: nothing to do."
  exit 0
fi
APPTAINER_OPTIONS=(--nv)
bids_mmh participant --participant-label "${slice[@]}" --device cuda --skip-bids-validation \
  --nprocs "$SLURM_CPUS_PER_TASK" --omp-nthreads 1 "$@"
