#!/usr/bin/env bash
# Trains on this machine:  ./launch/local.sh CONFIG [key=value ...] [--fresh | --dry-run | --print]   or   --explain [KEY]
# or on your pictures:     ./launch/local.sh PHOTOS [--scale 2|4] [--minutes N] [--like photo|anime|text] [--from FILE]
#
# Makes the environment if there is none; the rest is `wildsr train` in it, which --help explains. Running the same
# command again resumes the run.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

ensure_environment quickstart
export PATH="$VENV/bin:$PATH"
# How the programs are named to the person: the environment is not that of the shell.
WILDSR_CALLED="$(printf %q "${VENV#"$PWD"/}/bin/wildsr")"
export WILDSR_CALLED WILDSR_LOCAL="$0"
# By its path: a folder `trainer` where the command is typed is not ours.
exec "$VENV/bin/python" "$ROOT/wildsr.py" train "$@"
