# shellcheck shell=bash disable=SC2034
# The tests' cluster: the environment of the tests, and hooks that leave a trace of having run.
prepare() { :; }
activate() { export PATH="$WILDSR_VENV/bin:$PATH"; }
stage() { echo "staged on $SLURMD_NODENAME"; }
CONTAINER=(env IN_CONTAINER=1)
