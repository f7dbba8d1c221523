#!/usr/bin/env bash
# Everything that only a GPU can show about the fused degradation, in one call of under ten minutes:
#     benchmarks/on_a_gpu.sh [folder of basicsr-1.4.2] 2>&1 | tee gpu.txt
# The tests run compiled instead of interpreted; then the tables for 48, 12, 24 and 96 crops of 400 x 400.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python3 -c 'import torch, triton; print(torch.__version__, triton.__version__, torch.cuda.get_device_name())'
timeout 200 python3 -m pytest -q --confcutdir=tests/degradations tests/degradations/test_fused.py \
    tests/degradations/test_fused_pipeline.py
for batch in 48 12 24 96; do
    timeout 90 python3 benchmarks/degradation.py "$@" --device cuda --batch "$batch" --rounds 20
done
