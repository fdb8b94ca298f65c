#!/bin/sh
# Try an image as a cluster would run it: another user's id, a read-only root, no network, no capabilities.
# It makes a small phantom, preprocesses and harmonizes it, and writes the group page.
# usage: try-image.sh IMAGE FOLDER    env: ENGINE, docker or podman (default: docker)
set -eu
image=$1 folder=$2 engine=${ENGINE:-docker}
mkdir -p "$folder/out"
folder=$(cd "$folder" && pwd)
chmod 777 "$folder" "$folder/out"

run() { # [--entrypoint PROGRAM] -- ARGUMENTS
  options=
  while [ "$1" != -- ]; do options="$options $1"; shift; done
  shift
  # shellcheck disable=SC2086
  "$engine" run --rm --network none --read-only --tmpfs /tmp --user 4321:4321 --cap-drop all \
    --security-opt no-new-privileges --volume "$folder:/study" $options "$image" "$@"
}

run -- --version
run --entrypoint bids-mmh-phantom -- /study/raw --subjects 1 --sites 1 --resolution 2 --sequences T1w --no-truth
run -- /study/raw /study/out participant --sloppy --nprocs 2 --omp-nthreads 1
run -- /study/raw /study/out group
echo "The image works; results are in $folder/out."
