#!/bin/bash
# Train the study's own model on all GPUs of a node (or of several: --nodes=2), then harmonize all scans with it.
# Resumes where it was stopped: submit it again after a time limit.
#   sbatch fit.sh [--target-site NAME ...]
#SBATCH --job-name=mmh-fit
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=8
#SBATCH --mem=120G
#SBATCH --time=2-00:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
. ./study.sh

record fit
# One task a GPU; the processes find each other by what SLURM tells them.
export MASTER_ADDR MASTER_PORT
# The first host is cut out here: a pipe to head would end a job of many nodes by SIGPIPE.
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MASTER_ADDR=${hosts%%$'\n'*}
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export -f bids_mmh
export BIDS_DIR OUTPUT_DIR WORK_DIR IMAGE
srun --kill-on-bad-exit=1 bash -c 'set -euo pipefail; APPTAINER_OPTIONS=(--nv); bids_mmh "$@"' _ \
  group --fit all --device cuda "$@"
