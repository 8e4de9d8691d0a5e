#!/usr/bin/env bash
# Makes docs/pictures/: photographs that scikit-image's wheel carries (public domain, CC0), made poor by `resflow degrade`, and what
# `resflow restore` makes of them; and beside Real-ESRGAN (compare.jpg; its figures are printed). To be run again when the weights change.
#   DR  Real-ESRGAN's weights, as `resflow restore --dr-file` takes them (default: what `resflow pull real-esrgan` fetched)
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/resflow
photos="$(.venv/bin/python -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("skimage").origin))')/data"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p docs/pictures

# cut NAME X Y: a part of 384 x 288, whole, so that its poor version is 96 x 72
cut() {
  .venv/bin/python - "$photos/$1.png" "$work/$1.png" "$2" "$3" <<'PYTHON'
import sys

from PIL import Image

source, target, x, y = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
Image.open(source).convert("RGB").crop((x, y, x + 384, y + 288)).save(target)
PYTHON
}

cut coffee 130 60     # Rachel Michetti, CC0
cut astronaut 64 0    # NASA, public domain
cut chelsea 30 0      # Stefan van der Walt, CC0
for name in coffee astronaut chelsea; do
  "$program" --quiet degrade "$work/$name.png" -o "$work/$name-poor.png" --recipe see-sr --seed 3 --scale 4
  "$program" --quiet restore "$work/$name-poor.png" -o "$work/$name-restored.png" --scale 4 --compare "$work/$name-pair.png"
  .venv/bin/python - "$work/$name-pair.png" "docs/pictures/$name.jpg" <<'PYTHON'
import sys

from PIL import Image

Image.open(sys.argv[1]).convert("RGB").save(sys.argv[2], quality=88, optimize=True)  # no texts: they would name this machine's paths
PYTHON
done

mkdir "$work/lq" "$work/hq"
for name in coffee astronaut chelsea; do
  mv "$work/$name-poor.png" "$work/lq/$name.png"
  mv "$work/$name.png" "$work/hq/$name.png"
done
network=data/lite0.safetensors
[[ -f "$network" ]] || network=""
"$program" compare "$work" -o "$work/ways" --dr-file "${DR:-real-esrgan}" --through ${network:+--feature-network "$network"}
.venv/bin/python - "$work" docs/pictures/compare.jpg <<'PYTHON'
import sys
from pathlib import Path

from PIL import Image, ImageDraw

work, target = Path(sys.argv[1]), sys.argv[2]
ways = {"bicubic": "ways/bicubic", "resflow": "ways/plain", "Real-ESRGAN x4plus": "ways/real-esrgan", "resflow --dr-file, mixed": "ways/mixed", "original": "hq"}
parts = {"astronaut": (95, 45), "chelsea": (40, 60), "coffee": (60, 60)}  # of 150 x 112, shown twice as large
sheet = Image.new("RGB", (304 * len(ways) - 4, 20 + 229 * len(parts)), "white")
for column, (title, folder) in enumerate(ways.items()):
    ImageDraw.Draw(sheet).text((304 * column + 4, 4), title, fill="black")
    for row, (name, (x, y)) in enumerate(parts.items()):
        part = Image.open(work / folder / f"{name}.png").convert("RGB").crop((x, y, x + 150, y + 112))
        sheet.paste(part.resize((300, 224), Image.BICUBIC), (304 * column, 20 + 229 * row))
sheet.save(target, quality=88, optimize=True)
PYTHON
ls -l docs/pictures
