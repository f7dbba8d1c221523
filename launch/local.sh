#!/usr/bin/env bash
# Trains on this machine:  ./launch/local.sh CONFIG [key=value ...] [--fresh | --dry-run | --print]   or   --explain [KEY]
# or on your pictures:     ./launch/local.sh PHOTOS [--scale 2|4] [--minutes N] [--like photo|anime|text] [--from FILE]
#
# PHOTOS is a folder: settings are chosen for this machine, configs/my_photos.yaml filled in. One process per GPU, or
# two on the CPU where there is none. PROCESSES=n overrides the number; CUDA_VISIBLE_DEVICES chooses the GPUs. Running
# the same command again resumes the run.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

if [ $# -eq 0 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    echo "Configs are $(cd "$ROOT" && printf '%s ' configs/*.yaml)" >&2
    exit 2
fi
ensure_environment quickstart
export PATH="$VENV/bin:$PATH"

for argument in "$@"; do
    case "$argument" in
    --help | -h) [ ! -d "$1" ] || exec python -P -m trainer.photos --help ;;
    esac
    case "$argument" in
    --help | -h | --print | --explain*) exec python "$ROOT/trainer/run.py" "$@" ;;
    esac
done

# torch counts what it can use, by CUDA_VISIBLE_DEVICES too; nvidia-smi may be absent, as in many containers.
GPUS="$(python -c 'import torch; print(torch.cuda.device_count())')"
if [ "$GPUS" -gt 0 ]; then
    PROCESSES="${PROCESSES:-$GPUS}"
else
    if [ -z "${CUDA_VISIBLE_DEVICES+set}" ] && nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU'; then
        echo "note: nvidia-smi knows a GPU, but this torch cannot use it: is the driver too old for its CUDA, or is it" \
            "the build for CPUs? Remove $VENV to install it anew." >&2
    fi
    PROCESSES="${PROCESSES:-2}"
    export ACCELERATE_USE_CPU=true  # `accelerate launch --cpu --num_processes 2` would start one process
    CORES="$(nproc 2>/dev/null || sysctl -n hw.ncpu)"
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((CORES > PROCESSES ? CORES / PROCESSES : 1))}"
fi

if [ -d "${1:-}" ]; then  # a folder of pictures: its configuration takes its place, and the options that chose it
    # -P: a folder `trainer` where the command is typed is not ours
    chosen=() rest=()
    while [ $# -gt 0 ]; do
        case "$1" in
        --fresh | --dry-run) rest+=("$1") ;;
        *) chosen+=("$1") ;;
        esac
        [[ "$1" = *=* && "$1" != --* ]] && rest+=("$1")
        shift
    done
    CONFIG="$(python -P -m trainer.photos "${chosen[@]}" --processes "$PROCESSES")"
    set -- "$CONFIG" ${rest[@]+"${rest[@]}"}
fi

# A mistake is reported here, once and with status 2, before any process is started; the processes print the notes.
python "$ROOT/trainer/run.py" "$@" --check "$PROCESSES" >/dev/null

if [ "$PROCESSES" -eq 1 ]; then
    exec python "$ROOT/trainer/run.py" "$@"
fi
# Asked to stop, the launcher gives the processes this long to save themselves before it kills them (default: 30 s).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}"
# Under nohup a closed terminal's HUP is ignored, which the launcher would undo.
if trap -p HUP | grep -q "''"; then
    export TORCHELASTIC_SIGNALS_TO_HANDLE="${TORCHELASTIC_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGQUIT}"
fi
# Port 0 lets the system choose a free one, so that two runs can share a machine. Accelerate would guess the others.
exec python "$ROOT/launch/start.py" --multi_gpu --num_processes "$PROCESSES" --main_process_port 0 \
    --num_machines 1 --mixed_precision no --dynamo_backend no "$ROOT/trainer/run.py" "$@"
