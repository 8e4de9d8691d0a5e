#!/usr/bin/env bash
# The checks of `make test`, then clang-tidy over sources of src/ and apps/: those that differ from main (what is not committed
# included), or FILES=all, or FILES="src/a.cpp src/b.cpp". A file takes about 30 s and 1 GB, which is why all is not the default.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
for check in layers lengths words format docs; do .venv/bin/python "tools/check_$check.py" || status=1; done

case "${FILES:-}" in
  all) files="$(find src apps -name '*.cpp')" ;;
  "")
    base=""
    for main in origin/main main; do
      if git rev-parse -q --verify "$main" >/dev/null; then base="$(git merge-base HEAD "$main")" && break; fi
    done
    changed="$({ git diff --name-only --diff-filter=d ${base:+"$base"} -- 'src/*.cpp' 'apps/*.cpp'; git ls-files -o --exclude-standard -- 'src/*.cpp' 'apps/*.cpp'; } | sort -u)"
    files="$changed"
    ;;
  *) files="$FILES" ;;
esac
# The training-only program is another configuration's.
files="$(printf '%s\n' $files | grep -v main_train_only || true)"
if [[ -z "$files" ]]; then
  echo "clang-tidy: no source differs from main (FILES=all checks every one)"
  exit "$status"
fi

# A build folder of its own, never built: gcc's precompiled header is nothing to clang.
cmake -S . -B build-lint -G Ninja -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DRESFLOW_TESTS=OFF -DCMAKE_CXX_COMPILER_LAUNCHER="" \
  -DPython3_EXECUTABLE="$PWD/.venv/bin/python" >/dev/null
echo "clang-tidy: $(wc -w <<<"$files") files"
printf '%s\n' $files | xargs -P "${JOBS:-2}" -n 1 clang-tidy -p build-lint --quiet 2> >(grep -vE 'warnings?( and [0-9]+ errors?)? generated|^Error while processing' >&2) || status=1
exit "$status"
