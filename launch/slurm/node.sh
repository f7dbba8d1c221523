#!/usr/bin/env bash
# srun starts this once on each node: it becomes the launcher of the node's processes.  node.sh CONFIG [key=value ...]
set -euo pipefail
# The first node speaks for the run, since rank 0 is there; each other one has a file to itself.
[ "$SLURM_NODEID" -eq 0 ] || exec >>"$NODE_LOG-node$SLURM_NODEID.out" 2>&1
# shellcheck source=launch/slurm/site.sh
. "$WILDSR_SITE"
activate
# Slurm signals everything in the job. The launcher would die of these two; ignored, they stay so over exec, until the
# processes that it starts ask for them.
trap '' USR1 USR2
# Preempted or cancelled, the launcher gives the processes this long to save themselves (default: 30 s), if Slurm does.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}"

# The last two are said because accelerate warns when it has to guess.
COMMON=(--num_processes "$PROCESSES" --mixed_precision no --dynamo_backend no)
if [ "$PROCESSES" -eq 1 ]; then
    exec "${CONTAINER[@]}" accelerate launch --num_machines 1 "${COMMON[@]}" trainer/run.py "$@"
fi
# Static: rank 0 is on the first node for sure, and nobody races for the port. SLURM_NODEID is another one on each node,
# so it must not be expanded before this script runs.
exec "${CONTAINER[@]}" accelerate launch --multi_gpu "${COMMON[@]}" \
    --num_machines "$SLURM_NNODES" --machine_rank "$SLURM_NODEID" --rdzv_backend static \
    --main_process_ip "$MASTER_ADDR" --main_process_port "$LAUNCH_PORT" \
    trainer/run.py "$@"
