#!/usr/bin/env bash
# Checks a run on the login node and hands it to Slurm:
#
#   ./launch/slurm/submit.sh [--option=value ...] train CONFIG [key=value ...]
#   ./launch/slurm/submit.sh [--option=value ...] sweep LINES.txt CONFIG [key=value ...]
#   ./launch/slurm/submit.sh [--option=value ...] chain CONFIG [key=value ...]
#
# Options are sbatch's, as --option=value; they replace those in launch/slurm/{train,sweep,chain}.sbatch. With
# --test-only Slurm says when and where the job would start, and nothing is submitted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. launch/slurm/job.sh
# shellcheck source=launch/slurm/site.sh
. "$WILDSR_SITE"

usage() {
    [ $# -eq 0 ] || echo "error: $*" >&2
    sed -n '2,9s/^# \{0,1\}//p' launch/slurm/submit.sh >&2
    exit 2
}

OPTIONS=()
while [[ "${1:-}" == -* ]]; do
    [[ "$1" == --* ]] || usage "$1: write sbatch's options as --option=value."
    OPTIONS+=("$1")
    shift
done
KIND="${1:-}"
case "$KIND" in
train | chain) [ $# -ge 2 ] || usage ;;
sweep) [ $# -ge 3 ] || usage ;;
*) usage ;;
esac
shift
command -v sbatch >/dev/null || usage "there is no sbatch here: submit from a login node of the cluster."
SCRIPT="launch/slurm/$KIND.sbatch"

option() { # NAME: the value of sbatch's option, here or else in the script
    printf '%s\n' "${OPTIONS[@]}" "$(sed -n 's/^#SBATCH //p' "$SCRIPT")" | sed -n "s/^--$1=//p" | head -n 1
}

nodes="$(option nodes)" per_node="${PROCESSES_PER_NODE:-$(option gpus-per-node)}"
nodes="${nodes##*-}" per_node="${per_node##*:}" # of "1-4" nodes all four, of "a100:8" GPUs eight
PROCESSES=$((nodes * (per_node > 0 ? per_node : 1)))
NOWHERE="$(mktemp -d)"
trap 'rm -r "$NOWHERE"' EXIT

check() { # CONFIG [key=value ...]: what a job would be refused for, in one sentence
    LOCAL_WORLD_SIZE="$((per_node > 0 ? per_node : 1))" python trainer/run.py "$@" --check "$PROCESSES"
}

try() { # CONFIG [key=value ...]: build everything, and train one step on one pair
    # A node without network then finds the weights of perceptual losses, and pictures of the hub, in the caches.
    python trainer/run.py "$@" output_dir="$NOWHERE" batch.global_size=1 batch.per_device=1 queue_size=1 --dry-run
}

prepare
activate
if [ "$KIND" = sweep ]; then
    count="$(sweep_lines "$1" | wc -l)" wrong=""
    for ((index = 0; index < count; index++)); do
        if text="$(sweep_arguments "$1" "$index" "${@:2}")" && mapfile -t arguments <<<"$text" &&
            check "${arguments[@]}"; then
            [ "$index" -gt 0 ] || FIRST=("${arguments[@]}")
        else
            wrong="$wrong $index"
        fi
    done
    if [ -n "$wrong" ]; then
        echo "error: these lines of $1 (counted from 0) are wrong:$wrong. Nothing was submitted." >&2
        exit 2
    fi
    try "${FIRST[@]}"
    OPTIONS=("--array=0-$((count - 1))" "${OPTIONS[@]}")
else
    check "$@"
    try "$@"
fi

mkdir -p logs
echo "sbatch $(printf '%q ' "${OPTIONS[@]}" "$SCRIPT" "$@")"
sbatch "${OPTIONS[@]}" "$SCRIPT" "$@"
