#!/usr/bin/env bash
# The whole test suite:  ./launch/test.sh [pytest arguments]
# Without launchers, Slurm, forked jobs, compilers and released networks:  ./launch/test.sh --fast
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ensure_environment test
cd "$ROOT"
export PATH="$VENV/bin:$PATH"
export OMP_NUM_THREADS=1      # two ranks on two cores: more threads would fight
export HF_HUB_OFFLINE=1       # nothing here may depend on the network
unset PYTHONDONTWRITEBYTECODE # hundreds of processes start: each would compile this package again
if [ "${1:-}" = --fast ]; then
    shift
    set -- --numprocesses 2 --dist loadfile --max-worker-restart 0 \
        --ignore=tests/launch --ignore=tests/slurm --ignore=tests/faults \
        --ignore-glob='*/test_fused*.py' --ignore=tests/degradations/test_laws.py \
        --ignore-glob='*/test_*_onnx.py' --ignore-glob='*/test_compiling.py' --ignore-glob='*/test_released.py' \
        --ignore-glob='*/test_whole_runs.py' --ignore-glob='*/test_images_stream_run.py' "$@"
fi
# Three files at a time: most tests are one thread, and those of a Slurm wait for it. In the order of tests/conftest.py.
# A worker that ends, as after a test that hung (pyproject.toml), gets no successor, for which the others would wait.
[ $# -gt 0 ] || set -- --numprocesses 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
exec python -m pytest "$@"
