#!/usr/bin/env bash
# srun starts this once on each node: it runs the launcher of the node's processes.  node.sh CONFIG [key=value ...]
set -euo pipefail
# The first node, which has rank 0, writes to the job's log; each other one has a log of its own.
[ "$SLURM_NODEID" -eq 0 ] || exec >>"$NODE_LOG-node$SLURM_NODEID.out" 2>&1
# shellcheck source=launch/slurm/site.sh
. "$WILDSR_SITE"
activate
# Slurm signals everything in the job. These two would kill the launcher; ignored signals stay ignored over exec, until
# the processes that it starts set handlers.
trap '' USR1 USR2
# On these the launcher ends after its processes, and this shell waits for it.
trap : TERM INT HUP
# Preempted or cancelled, the launcher gives the processes this long to save themselves (default: 30 s), if Slurm does.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}"

RUN=(python trainer/run.py "$@")
# Static: rank 0 is certainly on the first node, and nothing races for the port. SLURM_NODEID differs between nodes, so
# it must not be expanded before this script runs. Without the last two options accelerate warns that it guesses.
[ "$PROCESSES" -eq 1 ] || RUN=(python -m trainer.launcher.start --multi_gpu --num_processes "$PROCESSES"
    --num_machines "$SLURM_NNODES" --machine_rank "$SLURM_NODEID" --rdzv_backend static
    --main_process_ip "$MASTER_ADDR" --main_process_port "$LAUNCH_PORT" --mixed_precision no --dynamo_backend no
    trainer/run.py "$@")
STATUS=0
"${CONTAINER[@]}" "${RUN[@]}" || STATUS=$?
# Statuses of a stop: 0, and 128 with the number of HUP, INT, USR1, USR2 or TERM. Where one node crashes srun ends the
# others, which then are asked to stop: this file reports the crash to the job's script.
case "$STATUS" in
0 | 129 | 130 | 138 | 140 | 143) ;;
*) echo "$STATUS" >"$NODE_LOG.crashed" ;;
esac
exit "$STATUS"
