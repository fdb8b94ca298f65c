#!/bin/bash
# Tables and page of the study, from the derivatives alone.
#SBATCH --job-name=mmh-group
#SBATCH --cpus-per-task=2
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
. ./study.sh

record group
APPTAINER_OPTIONS=()
bids_mmh group "$@"
