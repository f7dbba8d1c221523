#!/usr/bin/env bash
# All checks and measurements of the fused degradation that need a GPU, in one call of under ten minutes:
#     bash benchmarks/on_a_gpu.sh [folder of basicsr-1.4.2] 2>&1 | tee gpu.txt
# The tests run compiled instead of interpreted; then tables for 48 crops of 400 x 400, the share of a training step,
# 12, 24 and 96 crops, what a profiler counts, and the reference under torch.compile. Each part has its share of the
# time, prints as it goes, and does not end the others. Needs PyTorch with Triton, pytest, einops, Pillow; SciPy for
# basicsr.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
BASICSR=("$@")

# part NAME SECONDS COMMAND...
part() {
    local name=$1 limit=$2 left=$((585 - SECONDS))
    shift 2
    ((limit < left)) || limit=$left
    printf '\n== %s (at %d s)\n' "$name" "$SECONDS"
    if ((limit < 5)); then
        echo "no time is left for it"
        return
    fi
    timeout -k 5 "$limit" "$@"
    local status=$?
    ((status == 0)) || echo "-- $name: status $status (124: its $limit seconds were over)"
}

degradation() { # NAME SECONDS OPTION...
    part "$1" "$2" python3 benchmarks/degradation.py "${BASICSR[@]}" --device cuda "${@:3}"
}

python3 -c 'import torch, triton; print(torch.__version__, triton.__version__, torch.cuda.get_device_name())'
# -W default: warnings of the machine's packages must not fail the tests
part "tests" 190 python3 -m pytest -q -W default -p no:cacheprovider --confcutdir=tests/degradations \
    tests/degradations/test_fused.py tests/degradations/test_fused_pipeline.py \
    tests/degradations/test_laws.py::test_draws_of_a_gpu_are_those_of_a_cpu
degradation "48 crops" 110 --batch 48 --rounds 20
part "share of a training step" 110 python3 benchmarks/training_step.py --batch 48
for batch in 12 24 96; do
    degradation "$batch crops" 40 --batch "$batch" --rounds 10
done
if command -v ncu >/dev/null; then
    part "bytes of DRAM by kernel, and nanoseconds" 40 ncu --profile-from-start off --clock-control none --csv \
        --metrics dram__bytes.sum,gpu__time_duration.sum python3 benchmarks/degradation.py --device cuda --once --batch 48
fi
BASICSR=()
degradation "the reference under torch.compile" 150 --batch 48 --rounds 5 --compiled
printf '\n== the end, after %d s\n' "$SECONDS"
