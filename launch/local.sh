#!/usr/bin/env bash
# Trains on this machine:  ./launch/local.sh CONFIG [key=value ...] [--fresh | --dry-run | --print]
#
# One process per GPU, or two on the CPU where there is none. PROCESSES=n overrides the number; CUDA_VISIBLE_DEVICES
# chooses the GPUs. Running the same command again resumes the run.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

if [ $# -eq 0 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
ensure_environment quickstart
export PATH="$VENV/bin:$PATH"

GPUS="$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true)"
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    GPUS="$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c '[^[:space:]]' || true)"
fi
if [ "$GPUS" -gt 0 ]; then
    PROCESSES="${PROCESSES:-$GPUS}"
else
    PROCESSES="${PROCESSES:-2}"
    export ACCELERATE_USE_CPU=true  # `accelerate launch --cpu --num_processes 2` would start one process
    CORES="$(nproc 2>/dev/null || sysctl -n hw.ncpu)"
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((CORES > PROCESSES ? CORES / PROCESSES : 1))}"
fi

# A mistake is said here, once and with status 2: the launcher would bury it under a traceback for each process.
case " $* " in
*" --help "* | *" -h "* | *" --print "*) exec python "$ROOT/trainer/run.py" "$@" ;;
*" --fresh "* | *" --dry-run "*) ;;
*) python "$ROOT/trainer/run.py" "$@" --check "$PROCESSES" >/dev/null ;;
esac

# Asked to stop, the launcher gives the processes this long to save themselves before it kills them (default: 30 s).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}"

COMMON=(--num_machines 1 --mixed_precision no --dynamo_backend no)  # said, or accelerate warns that it guessed
if [ "$PROCESSES" -eq 1 ]; then
    exec accelerate launch --num_processes 1 "${COMMON[@]}" "$ROOT/trainer/run.py" "$@"
fi
# Port 0 lets the system choose a free one, so that two runs can share a machine.
exec accelerate launch --multi_gpu --num_processes "$PROCESSES" --main_process_port 0 "${COMMON[@]}" \
    "$ROOT/trainer/run.py" "$@"
