# Sourced by start.sh and test.sh: the Python environment in .venv.

# prepare_environment FILE: make .venv if there is none and install FILE into it, unless that was done.
prepare_environment() {
    local requirements=$1 wanted stamp python
    stamp=".venv/${requirements%.txt}.installed"
    # Development requirements include the others, so both are part of what was installed.
    wanted=$(cat requirements.txt "$requirements" | cksum)
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python) || {
            echo "ORBIT server needs Python 3.11 or newer, and found none." >&2
            exit 1
        }
        echo "Making a Python environment in .venv with $("$python" --version) …"
        "$python" -m venv .venv || {
            echo "Python could not make it; on Debian and Ubuntu: apt install python3-venv" >&2
            rm -rf .venv
            exit 1
        }
    fi
    echo "Installing the packages of $requirements into .venv (once, a minute or two) …"
    if ! .venv/bin/python -m pip install --disable-pip-version-check -r "$requirements" |
        { grep -E --line-buffered '^(Collecting|Installing|Successfully)' || true; } |
        cut -c1-100; then
        echo "The packages could not be installed; the lines above say why." >&2
        exit 1
    fi
    echo "$wanted" > "$stamp"
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
