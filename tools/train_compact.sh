#!/usr/bin/env bash
# What `make train-compact` does once the program is built: packs the images of DATA, makes the feature networks' files, trains the
# remover, the flow and its last part, then compact-iqa, joins them, and takes out the fixed pattern that cells leave. Each step is left out where its result
# is there; a training goes on where it stopped.
#   DATA  a folder of photographs. Those named in configs/validation.txt are held out for validation; where it has none of them, every
#         tenth, 48 at most. Once data/train.safetensors is there it is needed for the pattern alone.
#   TEACHER  a Real-ESRGAN network, as `resflow restore --dr-file` takes them, whose pictures are learnt; without one the clean pictures are
#   SMALL=1  the small shape and steps that two CPU cores can do in hours
#   ARGS  more options of `resflow train`, for all of them: --minutes 30
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/resflow
mkdir -p data runs

held_out=configs/validation.txt
# Exit code 1: some pictures are damaged, and were told and left out.
go_on() { "$@" || [[ $? == 1 ]]; }
photographs() { find "$DATA" -maxdepth 1 \( -type f -o -type l \) -printf '%f\n' | grep -iE '\.(jpe?g|png|webp|tiff?)$' | LC_ALL=C sort || true; }
if [[ -f data/validation.txt ]]; then held_out=data/validation.txt; fi

if [[ ! -f data/train.safetensors || ! -f data/validation.safetensors ]]; then
  [[ -d "${DATA:-}" ]] || { printf "train-compact: wanted DATA=folder of images, got '%s'\n" "${DATA:-}" >&2; exit 2; }
  names="$(photographs)"
  held_out=configs/validation.txt
  if ! grep -qxFf "$held_out" <<<"$names"; then
    held_out=data/validation.txt
    awk 'NR % 10 == 0 && ++n <= 48' <<<"$names" >"$held_out"
  fi
  if [[ ! -s "$held_out" ]]; then
    printf 'train-compact: %s: wanted 10 images or more, got %d\n' "$DATA" "$(grep -c . <<<"$names")" >&2
    exit 2
  fi
  go_on "$program" pack "$DATA" -o data/train.safetensors --except "$held_out"
  go_on "$program" pack "$DATA" -o data/validation.safetensors --only "$held_out"
fi

for network in lite1 lite2; do
  [[ -f "data/$network.safetensors" ]] || .venv/bin/python tools/efficientnet_lite_to_safetensors.py "$network" "data/$network.safetensors"
done

options=(${TEACHER:+--teacher "$TEACHER"})
shape=(${SMALL:+--model.remover-blocks 6})
[[ -z "${SMALL:-}" ]] || options+=(--batch 8 --crop 96)
# shellcheck disable=SC2206  # ARGS holds several words
more=(${ARGS:-})
for part in dr flow flow_finish; do
  "$program" train "configs/$part.toml" "${options[@]}" "${shape[@]}" "${more[@]}"
done
"$program" train configs/iqa.toml "${shape[@]}" "${more[@]}"

# The adversary's flow has texture, the one before it the better structure: their mean keeps most of both.
"$program" merge runs/flow/weights.safetensors runs/flow_finish/weights.safetensors --mean 0.3,0.7 -o runs/flow.safetensors
"$program" merge runs/dr/weights.safetensors runs/flow.safetensors -o runs/compact.safetensors --default steps=1 --default sigma_s=0.05 \
  --default search_steps=1 --default search_sigma_s=0.15

if [[ -d "${DATA:-}" ]]; then
  mapfile -t pictures < <(photographs | grep -vxFf "$held_out" | head -n 96)
  level=runs/level
  rm -rf "$level"
  go_on "$program" degrade "${pictures[@]/#/$DATA/}" -o "$level/poor" --recipe see-sr --scale 4 --seed 1 --format png
  for part in dr flow; do
    strength=()
    [[ "$part" == flow ]] || strength=(--strength 0)
    "$program" restore "$level/poor" -o "$level/$part" --model runs/compact.safetensors --scale 4 --format png "${strength[@]}"
    .venv/bin/python tools/level_lattice.py runs/compact.safetensors "$level/$part" "$part" "$level/compact.safetensors"
    mv "$level/compact.safetensors" runs/compact.safetensors
  done
else
  printf 'train-compact: without DATA the fixed pattern of cells is left in (tools/level_lattice.py takes it out)\n' >&2
fi
printf '\n  model     runs/compact.safetensors   (resflow restore --model runs/compact.safetensors ...)\n  records   runs/*: log.jsonl, TensorBoard events, sample pictures\n'
