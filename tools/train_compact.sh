#!/usr/bin/env bash
# What `make train-compact` does once the program is built: packs the images of DATA, makes the feature networks' files, trains the
# remover, then the flow, then compact-iqa. Each step is left out where its result is there; a training goes on where it stopped.
#   DATA  a folder of photographs. Those named in configs/validation.txt are held out for validation; where it has none of them, every
#         tenth, 48 at most. Not needed again once data/train.safetensors is there.
#   TEACHER  a Real-ESRGAN network's file (`resflow pull real-esrgan`), whose pictures are learnt; without one the clean pictures are
#   SMALL=1  the small shape and steps that two CPU cores can do in hours
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/resflow
mkdir -p data

if [[ ! -f data/train.safetensors || ! -f data/validation.safetensors ]]; then
  [[ -d "${DATA:-}" ]] || { printf "train-compact: wanted DATA=folder of images, got '%s'\n" "${DATA:-}" >&2; exit 2; }
  held_out=configs/validation.txt
  names="$(find "$DATA" -maxdepth 1 -type f -printf '%f\n' | grep -iE '\.(jpe?g|png|webp|tiff?)$' | sort || true)"
  if ! grep -qxFf "$held_out" <<<"$names"; then
    held_out=data/validation.txt
    awk 'NR % 10 == 0 && ++n <= 48' <<<"$names" >"$held_out"
  fi
  if [[ ! -s "$held_out" ]]; then
    printf 'train-compact: %s: wanted 10 images or more, got %d\n' "$DATA" "$(grep -c . <<<"$names")" >&2
    exit 2
  fi
  "$program" pack "$DATA" -o data/train.safetensors --except "$held_out"
  "$program" pack "$DATA" -o data/validation.safetensors --only "$held_out"
fi

for network in lite1 lite2; do
  [[ -f "data/$network.safetensors" ]] || .venv/bin/python tools/efficientnet_lite_to_safetensors.py "$network" "data/$network.safetensors"
done

options=(${TEACHER:+--teacher "$TEACHER"})
shape=(${SMALL:+--model.remover-blocks 6})
[[ -z "${SMALL:-}" ]] || options+=(--batch 8 --crop 96)
for part in dr flow flow_finish; do
  "$program" train "configs/$part.toml" "${options[@]}" "${shape[@]}"
done
"$program" train configs/iqa.toml "${shape[@]}"
"$program" merge runs/dr/weights.safetensors runs/flow_finish/weights.safetensors -o runs/compact.safetensors --default steps=1
printf '\n  model     runs/compact.safetensors   (resflow restore --model runs/compact.safetensors ...)\n  records   runs/*: log.jsonl, TensorBoard events, sample pictures\n'
