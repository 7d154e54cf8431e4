# Sourced by the scripts beside it and by .ci/run: makes and keeps the virtual environment .venv of this checkout.

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# Prints the first Python that is new enough and can make virtual environments.
find_python() {
    for python in python3.13 python3.12 python3.11 python3; do
        if "$python" -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip, venv' >/dev/null 2>&1; then
            "$python" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

# Debian and Ubuntu keep the part of Python that makes virtual environments in a package of its own.
install_venv_package() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    printf 'Getting python3-venv with apt-get\n' >&2
    apt="apt-get -qq -o DPkg::Lock::Timeout=600"
    packages="python3 python3-venv"
    DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends $packages >/dev/null 2>&1 </dev/null || {
        $apt update >&2 </dev/null &&
            DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends $packages >/dev/null </dev/null
    }
}

# Installs the package of this checkout and the named dependency groups into .venv; quick when that was done already.
# The stamp of a set of groups holds the hash of the pyproject.toml they were installed from.
prepare_venv() {
    stamp=.venv/installed$(printf -- '-%s' package "$@")
    if ! .venv/bin/python -c 'import sys; assert sys.version_info >= (3, 11)' >/dev/null 2>&1; then
        make_venv
    fi
    wanted=$(cksum <pyproject.toml)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    printf 'Installing the package%s into .venv\n' "$(printf ' and %s' "$@" | sed '/^ and $/d')" >&2
    groups=
    for group in "$@"; do groups="$groups --group $group"; done
    # Groups are understood by pip 25.1 and newer.
    run_pip install --upgrade 'pip>=25.1' && run_pip install -e . $groups ||
        fail "The packages could not be installed into .venv: see pip's message above."
    printf '%s\n' "$wanted" >"$stamp"
}

make_venv() {
    if [ -e .venv ] && [ ! -w .venv ]; then
        fail "The folder $PWD/.venv belongs to another user: remove it, or use a checkout of your own."
    fi
    [ -w . ] || fail "The folder $PWD is not writable: use a checkout of your own, because .venv is made in it."
    python=$(find_python) || { install_venv_package && python=$(find_python); } || fail \
        "No Python 3.11 or newer with the module venv was found: install one (Debian, Ubuntu: python3 and python3-venv)."
    "$python" -m venv --clear .venv || fail "The virtual environment .venv could not be made with $python."
}

run_pip() {
    .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input "$@" </dev/null
}
