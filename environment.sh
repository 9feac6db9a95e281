# Sourced by start.sh and test.sh: the Python environment in .venv.

# prepare_environment FILE: make .venv if there is none and install FILE into it, unless that was done.
prepare_environment() {
    local requirements=$1 wanted stamp
    stamp=".venv/${requirements%.txt}.installed"
    # Development requirements include the others, so both are part of what was installed.
    wanted=$(cat requirements.txt "$requirements" | cksum)
    installed && return
    {
        one_at_a_time
        installed && return  # by the one that was waited for
        make_environment
        echo "Installing the packages of $requirements into .venv (once, a minute or two) …"
        if ! .venv/bin/python -m pip install --disable-pip-version-check -r "$requirements" |
            { grep -E --line-buffered '^(Collecting|Installing|Successfully)' || true; } |
            cut -c1-100; then
            echo "The packages could not be installed; the lines above say why." >&2
            exit 1
        fi
        echo "$wanted" > "$stamp"
    } 9< environment.sh
}

installed() {
    [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]
}

# Wait until nobody else works on .venv, where there is flock; the lock ends with file descriptor 9.
one_at_a_time() {
    command -v flock > /dev/null || return 0
    flock -n 9 2> /dev/null && return
    echo "Waiting for somebody else who prepares .venv …"
    flock 9 || true  # not every file system has locks
}

make_environment() {
    local python folder=$PWD
    [ ! -e .venv ] || folder=$PWD/.venv
    if [ ! -w "$folder" ]; then
        echo "Packages must be installed, and $(id -un 2> /dev/null) cannot write in $folder." >&2
        echo "Start it once as a user who can, or from a copy where you can." >&2
        exit 1
    fi
    # The scripts for shells come last: without them, the making was interrupted.
    if [ -e .venv/bin/activate ] && .venv/bin/python -m pip --version > /dev/null 2>&1; then
        return
    fi
    python=$(find_python) || {
        echo "ORBIT server needs Python 3.11 or newer, and found none." >&2
        exit 1
    }
    echo "Making a Python environment in .venv with $("$python" --version) …"
    "$python" -m venv --clear .venv || {
        echo "Python could not make it; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    }
}

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}
