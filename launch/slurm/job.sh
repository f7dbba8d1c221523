# shellcheck shell=bash
# Functions of the batch scripts, which source it from the root of the checkout, and of submit.sh.
#
# Read from the environment, which sbatch hands on to the job:
#   PROCESSES_PER_NODE  default: one per GPU that Slurm gave; one on the CPU where it gave none
#   MAX_REQUEUES        default 100: so many times at most is a job started again
#   MASTER_ADDR         default: the first node's name, as Slurm knows it
#   WILDSR_SITE         default launch/slurm/site.sh: environment, scratch, container

export WILDSR_SITE="${WILDSR_SITE:-launch/slurm/site.sh}"
# The SLURM_JOB_ID of an array's last task is the whole array's: to requeue that would end the other tasks.
JOB="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-}}"
JOB="${JOB:-${SLURM_JOB_ID:-}}"

say() { echo "$(date +%FT%T) job $JOB: $*"; }

# Trains on all nodes of the job until the run is done, asked to stop, or broken. Leaves the run's folder in RUN, the
# launchers' status in STATUS, and in ASKED what asked to stop: "signal", "time budget", "STOP file"; nothing where the
# run is done, or a process crashed, as the launcher then asks the others to stop.
train() { # CONFIG [key=value ...]
    # shellcheck source=launch/slurm/site.sh
    . "$WILDSR_SITE"
    activate
    describe_job
    say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST: $PROCESSES processes," \
        "port $LAUNCH_PORT of $MASTER_ADDR"
    # shellcheck disable=SC2016 # expanded on the nodes
    "${SRUN[@]}" bash -c '. "$WILDSR_SITE" && stage'
    # A mistake is reported here, once and with status 2: the launchers would bury it under a traceback per process.
    RUN="$("${CONTAINER[@]}" python trainer/run.py "$@" --check "$PROCESSES" | tail -n 1)"
    # Left by an earlier segment: a crash before the first step must not be taken for a stop.
    rm -f "$RUN/STOPPED" "$NODE_LOG.crashed"
    STATUS=0
    # A node that fails ends the others, which would wait for it until their collectives time out.
    "${SRUN[@]}" --kill-on-bad-exit=1 bash launch/slurm/node.sh "$@" || STATUS=$?
    ASKED=""
    [ ! -f "$RUN/STOPPED" ] || [ -f "$NODE_LOG.crashed" ] || ASKED="$(sed 's/^step [0-9]*: //' "$RUN/STOPPED")"
    rm -f "$NODE_LOG.crashed"
    say "$RUN: ended with status $STATUS${ASKED:+, stopped by $ASKED}"
}

# The settings of node.sh on every node, derived from Slurm's variables.
describe_job() {
    # One launcher on each node. As an option of sbatch, this would limit a job of `--nodes=1-4` to one node.
    SRUN=(srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1)
    local gpus="${SLURM_GPUS_ON_NODE:-0}"
    local per_node="${PROCESSES_PER_NODE:-$((gpus > 0 ? gpus : 1))}"
    [ "$gpus" -gt 0 ] || export ACCELERATE_USE_CPU=true
    export PROCESSES=$((SLURM_NNODES * per_node))
    export MASTER_ADDR="${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}"
    # Each array task has a SLURM_JOB_ID of its own. Below 32768 no outgoing connection holds the port.
    export LAUNCH_PORT=$((10000 + SLURM_JOB_ID % 20000))
    NODE_LOG="$(readlink "/proc/$$/fd/1")" # beside this job's own log, wherever --output put that
    export NODE_LOG="${NODE_LOG%.out}"
    export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # since 22.05 srun no longer takes it over from sbatch
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((SRUN_CPUS_PER_TASK > per_node ? SRUN_CPUS_PER_TASK / per_node : 1))}"
}

# Gives this job, or this one task of an array, back to Slurm, which starts it again with the same arguments.
requeue() {
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "${MAX_REQUEUES:-100}" ]; then
        echo "error: job $JOB is not requeued: it was started again ${SLURM_RESTART_COUNT:-0} times, and MAX_REQUEUES" \
            "is ${MAX_REQUEUES:-100}. The run is saved; submit it again to go on." >&2
        exit 1
    fi
    say "requeue"
    scontrol requeue "$JOB"
    sleep 120 # Slurm ends this script
}

# The lines of a sweep, without comments and blank ones, and without the \r of an editor on Windows.
sweep_lines() { sed 's/\r$//' "$1" | grep -vE '^[[:space:]]*(#|$)'; }

# The arguments of one task of a sweep, one a line. The line's own settings come last, so they hold.
sweep_arguments() { # FILE INDEX CONFIG [key=value ...]
    local file="$1" index="$2" config="$3" name lines
    mapfile -t lines < <(sweep_lines "$file")
    if [ "$index" -ge "${#lines[@]}" ]; then
        echo "error: array index $index: $file has ${#lines[@]} lines, counted from 0." >&2
        return 2
    fi
    name="$(basename "$file" .txt)"
    # No job id in the names: an array that is submitted again goes on in the same folders.
    printf '%s\n' "$config" "output_dir=outputs/$name" "name=$name-$index" "${@:4}"
    xargs printf '%s\n' <<<"${lines[index]}" || { # quotes are as in a shell, and nothing is expanded
        echo "error: line $index of $file (counted from 0): ${lines[index]}" >&2
        return 2
    }
}
