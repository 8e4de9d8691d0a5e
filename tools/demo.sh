#!/usr/bin/env bash
# What `make demo` does once the program is built: restores IMAGE, or a photograph made poor for the purpose, and draws both
# beside each other. Does nothing that is already done.
#   IMAGE  the picture to restore. Default: scikit-image's photograph of a coffee cup (CC0), made poor.
#   SCALE  how much larger the result is. Default: what `resflow restore` takes by itself; 4 for the default photograph.
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/resflow
mkdir -p demo

# newer TARGET SOURCE...: TARGET is there and newer than each SOURCE.
newer() {
  local target="$1" source
  shift
  [[ -f "$target" ]] || return 1
  for source in "$@"; do [[ "$source" -nt "$target" ]] && return 1; done
  return 0
}

scale="${SCALE:-}"
if [[ -n "${IMAGE:-}" ]]; then
  [[ -f "$IMAGE" ]] || { printf "demo: IMAGE=%s: no such file\n" "$IMAGE" >&2; exit 2; }
  input="$IMAGE"
else
  photo="$(.venv/bin/python -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("skimage").origin))')/data/coffee.png"
  input=demo/coffee-poor.png
  scale="${scale:-4}"
  if ! newer "$input" "$photo"; then
    "$program" degrade "$photo" -o "$input" --recipe see-sr --seed 1 --scale 4
  fi
fi

name="$(basename "${input%.*}")"
result="demo/$name${scale:+-x$scale}-restored.png"
pair="demo/$name${scale:+-x$scale}-side-by-side.png"
stamp="demo/.$name${scale:+-x$scale}"  # of which file the result is: two folders may each have a photo.jpg
from="$(realpath "$input")"
if [[ "$(cat "$stamp" 2>/dev/null)" != "$from" ]] || ! newer "$result" "$input" "$program" weights/*.safetensors || ! newer "$pair" "$input"; then
  "$program" restore "$input" -o "$result" ${scale:+--scale "$scale"} --compare "$pair"
  printf '%s\n' "$from" >"$stamp"
fi

printf '\n  photograph    %s\n  result        %s\n  side by side  %s\n' "$input" "$PWD/$result" "$PWD/$pair"
