#!/usr/bin/env bash
# Runs the tests on the lowest versions that pyproject.toml promises, in a virtual environment of its own.
#
#   tools/minimum_versions.sh [FOLDER] [PYTEST ARGUMENTS ...]
#
# FOLDER keeps the environment (several GB) for the next time; without one it is made in a temporary folder and deleted.
# PYTHON names the interpreter, by default the oldest one that is promised.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=PASSIVE PIP_DISABLE_PIP_VERSION_CHECK=1

oldest=$(sed -nE 's/^requires-python = ">=([0-9.]+)"/\1/p' pyproject.toml)
python=${PYTHON:-}
for candidate in "python$oldest" "$HOME"/.pyenv/versions/"$oldest".*/bin/python; do # pyenv's python3.10 may be a stub
  [ -n "$python" ] || ! "$candidate" -c 'import sys' 2>/dev/null || python=$candidate
done
[ -n "$python" ] || {
  echo "there is no Python $oldest here; set PYTHON" >&2
  exit 2
}

if [ $# -gt 0 ] && [ "${1#-}" = "$1" ] && [ "${1#tests}" = "$1" ]; then
  folder=$1
  shift
  mkdir -p "$folder"
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi

# Each "NAME>=X" of the dependencies and the extras as "NAME==X".
sed -nE 's/^ +"([A-Za-z0-9_.-]+)(\[[a-z0-9,]+\])?>=([0-9.]+)[",].*/\1==\3/p' pyproject.toml >"$folder/constraints.txt"
[ "$(grep -c '>=' <(sed -n '/^dependencies/,/^\[project.scripts\]/p' pyproject.toml))" = "$(wc -l <"$folder/constraints.txt")" ] || {
  echo "a lower bound in pyproject.toml was not understood; see $folder/constraints.txt" >&2
  exit 2
}
[ -x "$folder/env/bin/python" ] || "$python" -m venv "$folder/env"
"$folder/env/bin/pip" install -q -c "$folder/constraints.txt" -e '.[dev]'
"$folder/env/bin/python" -m pytest "$@"
