#!/bin/bash
# Submit the whole chain from a login node: preprocessing array, then harmonization array, then the group level.
#   bash submit.sh          harmonize with the embedded model
#   bash submit.sh --fit    train the study's own model instead, which harmonizes all scans
# A stage starts when the one before has ended, whatever failed in it: one damaged scan does not hold up a study, and
# each stage says what it lacks. What failed: bash resubmit.sh
set -euo pipefail
cd "$(dirname "$0")"
. ./study.sh

count=$(participants | wc -l)
if [ "$count" -eq 0 ]; then
  echo "$BIDS_DIR/participants.tsv lists no participants." >&2
  exit 66
fi
preprocess=$(sbatch --parsable --array="1-$count%100" preprocess.sh)
if [ "${1:-}" = --fit ]; then
  last=$(sbatch --parsable --dependency="afterany:${preprocess%%;*}" fit.sh)
else
  last=$(sbatch --parsable --dependency="afterany:${preprocess%%;*}" --array="1-$SLICES" harmonize.sh)
fi
group=$(sbatch --parsable --dependency="afterany:${last%%;*}" group.sh)
echo "$count participants: jobs $preprocess, $last, $group"
