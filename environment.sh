# Sourced by start.sh and test.sh: the Python environment in .venv of the working directory, with
# this project installed in it as it lies here, so that .venv/bin/orbit runs these files.

# prepare_environment FILE [CONSTRAINTS]: create .venv if there is none, and install the packages of
# FILE and this project into it, unless that was done; no other versions than CONSTRAINTS names.
prepare_environment() {
    local requirements=$1 constraints=${2:-} wanted stamp
    stamp=".venv/${requirements%.txt}.installed"
    # Development requirements include the others, so both are part of what was installed. The
    # folder is too: the program in .venv names the place where it was installed.
    wanted=$(cat requirements.txt "$requirements" pyproject.toml ${constraints:+"$constraints"} | cksum)
    wanted="$wanted $PWD"
    installed && return
    {
        one_at_a_time
        installed && return  # by the one that was waited for
        create_environment
        echo "Installing the packages of $requirements into .venv (once) …"
        install -r "$requirements" -e . ${constraints:+-c "$constraints"} || {
            echo "The packages could not be installed; the lines above say why." >&2
            exit 1
        }
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
    echo "Waiting for another process that prepares .venv …"
    flock 9 || true  # not every file system has locks
}

create_environment() {
    local python folder=$PWD
    [ ! -e .venv ] || folder=$PWD/.venv
    if [ ! -w "$folder" ]; then
        echo "Packages must be installed, and $(id -un 2> /dev/null) cannot write in $folder." >&2
        echo "Start it once as a user who can, or from a copy where you can." >&2
        exit 1
    fi
    # The scripts for shells come last: without them, the creation was interrupted.
    if [ -e .venv/bin/activate ] && works; then
        return
    fi
    if have_uv; then
        # It also finds a Python that is not on the PATH, and fetches one where there is none.
        echo "Creating a Python environment in .venv with $(uv --version) …"
        uv venv --quiet --clear --python '>=3.11' .venv || exit 1
        return
    fi
    python=$(find_python) || {
        echo "ORBIT server needs Python 3.11 or newer, and found none." >&2
        echo "Install uv (https://docs.astral.sh/uv), which brings one, or see docs/operations.md." >&2
        exit 1
    }
    echo "Creating a Python environment in .venv with $("$python" --version) …"
    "$python" -m venv --clear .venv || {
        echo "Python could not create it; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    }
}

works() {
    have_uv || .venv/bin/python -m pip --version > /dev/null 2>&1
}

have_uv() {
    command -v uv > /dev/null
}

install() {
    if have_uv; then
        uv pip install --python .venv/bin/python "$@"  # it shows its progress itself
        return
    fi
    local log=.venv/install.log pip seconds=0 failed=0
    .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" > "$log" 2>&1 &
    pip=$!
    # pip says nothing while it unpacks; a line that changes, or one every 10 s where no terminal is.
    while kill -0 "$pip" 2> /dev/null; do
        sleep 0.5
        seconds=$((seconds + 1))
        if [ -t 1 ]; then
            printf '\r\033[K%s' "$(progress "$log")"
        elif [ $((seconds % 20)) = 0 ]; then
            progress "$log"
            echo
        fi
    done
    wait "$pip" || failed=$?
    [ ! -t 1 ] || printf '\r\033[K'
    [ "$failed" = 0 ] || tail -n 20 "$log" >&2
    return "$failed"
}

# How far pip has come: it downloads package after package, and then unpacks all of them.
progress() {
    local found fetched there wanted
    found=$(grep -c '^ *Collecting ' "$1")
    if grep -q '^Installing collected packages:' "$1"; then
        wanted=$(grep '^Installing collected packages:' "$1" | tr -cd , | wc -c)
        there=$(find .venv/lib -maxdepth 3 -name '*.dist-info' ! -name 'pip-*' ! -name 'setuptools-*' | wc -l)
        printf '  unpacking: %d of %d packages' "$there" $((wanted + 1))
    else
        fetched=$(grep -cE '^ *(Downloading|Using cached) .*(whl|gz)' "$1")
        printf '  downloading: %d packages found, %d files read' "$found" "$fetched"
    fi
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
