# shellcheck shell=bash disable=SC2034
# Settings in which clusters differ. Edit this file, or a copy and `export WILDSR_SITE=/path/to/copy`. Sourced from the
# root of the checkout: by submit.sh on the login node, by the batch script on the first node, and on every node.

prepare() { # on the login node, before a submission: compute nodes often have no network
    . launch/environment.sh
    ensure_environment quickstart
}

activate() { # everywhere: put the `python` and `accelerate` to use first on PATH
    export PATH="${WILDSR_VENV:-$PWD/.venv}/bin:$PATH"
    # conda:    source ~/miniforge3/etc/profile.d/conda.sh && conda activate wildsr     (and let `prepare` do nothing)
    # modules:  module load python/3.12 cuda/12.8
    # Weights of perceptual losses and datasets of the hub, fetched by submit.sh, read by the nodes:
    # export HF_HOME=$WORK/huggingface HF_HUB_OFFLINE=1
    # The network between nodes, where NCCL picks a wrong one:
    # export NCCL_SOCKET_IFNAME=ib0
}

stage() { # on each node of a job, before training: fill the node's own disk
    :
    # One place for all jobs of yours, the same on each node and after a requeue: a run is resumed on the same pictures.
    # mkdir -p "/scratch/$USER" && rsync -a "$WORK/DF2K" "/scratch/$USER/"      with images.source.path=/scratch/...
}

# Words before `python` and `accelerate` on compute nodes.
CONTAINER=()
# CONTAINER=(apptainer exec --nv --bind "$PWD,/scratch" wildsr.sif)   (and let `prepare` and `activate` do nothing)
