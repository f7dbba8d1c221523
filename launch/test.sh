#!/usr/bin/env bash
# The whole test suite:  ./launch/test.sh [pytest arguments]
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ensure_environment test
cd "$ROOT"
export PATH="$VENV/bin:$PATH"
export OMP_NUM_THREADS=1      # two ranks on two cores: more threads would fight
export HF_HUB_OFFLINE=1       # nothing here may depend on the network
unset PYTHONDONTWRITEBYTECODE # hundreds of processes start: each would compile this package again
# Three files at a time: most tests are one thread, and those of a Slurm wait for it. In the order of tests/conftest.py.
[ $# -gt 0 ] || set -- --numprocesses 3 --dist loadfile --no-loadscope-reorder
exec python -m pytest "$@"
