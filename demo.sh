#!/usr/bin/env bash
# A caller dials 700 and talks with a local agent. See --help.
set -euo pipefail
HERE=$(dirname "$(readlink -f "$0")")
"$HERE/tools/setup" --quiet
exec "${PARLEY_VENV:-$HERE/.venv}/bin/python" -P -m tools.demo "$@"
