#!/bin/sh
# Runs a role on a GPU that no other container of this host has: a lock on a file a card, held as long as the role lives.
set -eu
card=0
while [ "$card" -lt "$GPUS" ]; do
  exec 9>"${CARDS:-/cards}/$card"
  if flock --nonblock 9; then
    export CUDA_VISIBLE_DEVICES="$card"
    exec dicom-node "$@"
  fi
  card=$((card + 1))
done
echo "each of the $GPUS GPUs has its worker already: is GPUS the number of cards of this host?" >&2
exit 1
