#!/usr/bin/env bash
# The starter voice, from recordings to checkpoint: recipes/starter/train.sh DATA WORK
# Every step goes on where it was interrupted. On two cores: preparation 20 minutes, then about three hours.
set -euo pipefail
data=$1 work=$2
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

dub prepare "$data" "$work/corpus"
dub train-vocoder "$work/corpus" "$work/vocoder" --steps 20000 --adversarial-from 14000 & vocoder=$!
dub train "$work/corpus" "$work/words" --words-only --steps 7400
dub train "$work/corpus" "$work/starter" --start-from "$work/words/acoustic" --steps 8000 --director-steps 2000
wait "$vocoder"
# The director once more, alone; its graph moves with it, and the voice, which hardly listens to the graph but through it, stays.
dub train "$work/corpus" "$work/directed" --start-from "$work/starter/acoustic" --steps 0 --director-steps 3000
# And all together again: a director that has studied its films alone trusts them too much in others.
dub train "$work/corpus" "$work/together" --start-from "$work/directed/acoustic" --steps 1800 --learning-rate 5e-4 --director-steps 0
dub package "$work/together" "$work/vocoder" "$work/corpus" "$work/checkpoint" --expression 1.5 --conviction 4 --breath 0.7 --calibrate
python "$(dirname "$0")/sets.py" "$work/corpus" "$work/sets"
