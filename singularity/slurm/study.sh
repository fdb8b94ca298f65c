# What the job scripts share: copy this folder, edit the paths, submit from the copy. Read by bash, not run.
# shellcheck shell=bash disable=SC2034

BIDS_DIR=/project/study/bids
OUTPUT_DIR=/project/study/derivatives/bids-mmh # on a file system that all nodes see
WORK_DIR=/scratch/$USER/bids-mmh               # a large one, seen by all nodes too: steps of a re-submit start from it
IMAGE=/project/software/bids-mmh.sif
SLICES=8                                       # tasks of the harmonization array: as many as GPUs to be had
STATUS_DIR=$OUTPUT_DIR/logs/slurm              # exit code of each task: <stage>/<task>

# Participants of the study, one a line, in a fixed order: task N of an array takes line N.
participants() {
  awk -F '\t' '{ sub(/\r$/, "") }
    NR == 1 { for (i = 1; i <= NF; i++) if ($i == "participant_id") column = i; next }
    column && $column != "" { print $column }' "$BIDS_DIR/participants.tsv" | sort -u
}

# Run bids-mmh in the image, with nothing of the node but the three folders, the GPUs and what SLURM says of the task.
#   APPTAINER_OPTIONS=(--nv) bids_mmh participant --participant-label 01 ...
bids_mmh() {
  local name
  mkdir -p "$OUTPUT_DIR" "$WORK_DIR"
  for name in $(compgen -e | grep -E '^(SLURM_|MASTER_|CUDA_VISIBLE_DEVICES$)'); do
    export "APPTAINERENV_$name=${!name}" # --cleanenv takes away all else
  done
  apptainer run "${APPTAINER_OPTIONS[@]}" --cleanenv --no-home --pwd /work \
    --bind "$BIDS_DIR:/data:ro" --bind "$OUTPUT_DIR:/out" --bind "$WORK_DIR:/work" \
    "$IMAGE" /data /out "$@" --work-dir /work
}

# Keep the exit code of this task, also where it is killed: a task that never ended stays "running".
#   record STAGE; ...
record() {
  mkdir -p "$STATUS_DIR/$1"
  STATUS_FILE=$STATUS_DIR/$1/${SLURM_ARRAY_TASK_ID:-1}
  echo running > "$STATUS_FILE"
  trap 'echo $? > "$STATUS_FILE"' EXIT
}
