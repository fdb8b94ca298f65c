#!/bin/bash
# Say which tasks of an array failed or never ended, and submit those again. What they had done is kept.
#   bash resubmit.sh {preprocess,harmonize} [options of the job script]
set -euo pipefail
cd "$(dirname "$0")"
. ./study.sh

stage=${1:-}
shift || true
case $stage in
  preprocess) count=$(participants | wc -l) ;;
  harmonize) count=$SLICES ;;
  *)
    echo "The stage is preprocess or harmonize, not '$stage'." >&2
    exit 64
    ;;
esac

failed=()
for ((task = 1; task <= count; task++)); do
  code=$(cat "$STATUS_DIR/$stage/$task" 2> /dev/null || echo "not started")
  if [ "$code" != 0 ]; then
    printf '%s\t%s\n' "$task" "$code"
    failed+=("$task")
  fi
done
if [ "${#failed[@]}" -eq 0 ]; then
  echo "All $count tasks ended well."
  exit 0
fi
tasks=$(IFS=,; echo "${failed[*]}")
sbatch --array="$tasks" "$stage.sh" "$@"
