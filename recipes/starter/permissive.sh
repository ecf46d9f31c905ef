#!/usr/bin/env bash
# The permissive voice: recordings that anybody may use (CC0, CC BY) and our own synthetic lines, nothing else.
#     recipes/starter/permissive.sh DATA WORK
set -euo pipefail
data=$1 work=$2
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

dub prepare "$data" "$work/corpus" --corpora kathleen,grid,sayings
dub train-vocoder "$work/corpus" "$work/vocoder" --steps 5000 --adversarial-from 5000 & vocoder=$!
dub train "$work/corpus" "$work/acoustic" --size small --steps 3000 --weights kathleen=0.7,grid=0.2,sayings=0.1
wait "$vocoder"
dub package "$work/acoustic" "$work/vocoder" "$work/corpus" "$work/checkpoint" --name permissive
