# shellcheck shell=bash
# Sourced by the other scripts: makes .venv at the root of the checkout if there is none, and installs the locked
# dependencies and this package into it. `ensure_environment EXTRAS` does nothing if all is still up to date.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${WILDSR_VENV:-$ROOT/.venv}"

fits() {  # a Python between 3.11 and 3.13 (datasets and torch have wheels for these)
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

find_python() {  # the one that PYTHON names, else the first that fits
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" && echo "$PYTHON" && return
        echo "error: PYTHON=$PYTHON: got $("$PYTHON" --version 2>/dev/null || echo "no program that runs");" \
            "must be Python 3.11, 3.12 or 3.13." >&2
        return 2
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        fits "$candidate" && echo "$candidate" && return
    done
    echo "error: Python 3.11, 3.12 or 3.13 is needed and none was found; name one with PYTHON=/path/to/python." >&2
    return 2
}

gpu_here() { # or on the nodes of this cluster, whose login node has none
    ls /dev/nvidia[0-9]* /dev/kfd /dev/dxg >/dev/null 2>&1 || command -v nvidia-smi sbatch >/dev/null
}

install_torch_for_cpu() {  # fails where there is a GPU, where pip's own build is for CPUs anyway, and without that index
    if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ] || gpu_here; then
        echo "torch: the build that pip finds first; for CUDA it is about 3 GB to download and 5 GB on the disk." >&2
        [ ! -e /dev/kfd ] || echo "note: for AMD's GPUs install ROCm's build over it with $VENV/bin/python -m pip, from" \
            "the index that https://pytorch.org/get-started names." >&2
        return 1
    fi
    echo "torch: there is no GPU here, so the build for CPUs, about 200 MB." >&2
    "${pip[@]}" --retries 0 --timeout 10 --no-deps --index-url https://download.pytorch.org/whl/cpu torch \
        2>/dev/null && return
    echo "torch: that build cannot be had from here; pip's own, for CUDA, is about 3 GB to download." >&2
    return 1
}

ensure_environment() {
    local extras="$1" python stamp wanted
    stamp="$VENV/installed-$extras"
    if [ ! -x "$VENV/bin/python" ]; then
        python="$(find_python)" || return 2
        echo "making $VENV with $("$python" --version) ..." >&2
        "$python" -m venv "$VENV" || return 1
    elif [ -n "${PYTHON:-}" ]; then  # it may be left over in the shell, so it is no error that it is not used
        find_python >/dev/null || return 2
        [ "$("$PYTHON" --version)" = "$("$VENV/bin/python" --version)" ] || echo "note: $VENV is there already, with" \
            "$("$VENV/bin/python" --version); remove it to make it anew with PYTHON=$PYTHON." >&2
    fi
    wanted="$(cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt" | cksum)"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return 0
    echo "installing wildsr[$extras] and its locked dependencies into $VENV ..." >&2
    local -x PYTHONWARNINGS=ignore  # setuptools has an opinion on every editable installation
    local pip=("$VENV/bin/python" -m pip install --disable-pip-version-check -c "$ROOT/constraints.txt")
    [ -t 2 ] || pip+=(--quiet)  # a person sees how far it is
    # torch first and by itself: pip then takes exactly the pinned build, whatever else wants one.
    { install_torch_for_cpu || "${pip[@]}" torch; } >&2 && "${pip[@]}" -e "${ROOT}[$extras]" >&2 || return 1
    echo "$wanted" >"$stamp"
}
