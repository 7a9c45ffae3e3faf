# Sourced. need COMMAND PACKAGE: status 0 if the command is here, 77 (skip, said so) if not. Where the gate runs as
# root (CI=true), the distribution's package is installed first; nobody else's system is touched.
need() {
    command -v "$1" >/dev/null && return
    if [ "${CI:-}" = true ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        need_package "$2" || { need_lists && need_package "$2"; } || echo "$2 could not be installed"
        hash -r
    fi
    command -v "$1" >/dev/null || { echo "skipped: there is no $1 here"; return 77; }
}

need_package() { DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -qq --yes --no-install-recommends "$1" >/dev/null 2>&1; }
need_lists() { timeout 300 apt-get update -qq >/dev/null 2>&1; }

# need_import PYTHON MODULE PACKAGE...: the same for a module of an interpreter.
need_import() {
    local python=$1 module=$2
    shift 2
    "$python" -c "import $module" 2>/dev/null && return
    if [ "${CI:-}" = true ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        need_lists || true
        for package in "$@"; do need_package "$package" || echo "$package could not be installed"; done
    fi
    "$python" -c "import $module" 2>/dev/null || { echo "skipped: $python has no $module"; return 77; }
}

# need_nightly COMPONENT: the same for a component of the nightly toolchain.
need_nightly() {
    has_nightly() { rustup +nightly component list --installed 2>/dev/null | grep -q "^$1"; }
    has_nightly "$1" && return
    if [ "${CI:-}" = true ]; then timeout 300 rustup component add --toolchain nightly "$1" >/dev/null 2>&1; fi
    has_nightly "$1" || { echo "skipped: no nightly toolchain with $1"; return 77; }
}

# need_cargo COMMAND: the same for a command of cargo, by the crate of its name.
need_cargo() {
    command -v "$1" >/dev/null && return
    if [ "${CI:-}" = true ]; then timeout 900 cargo install --quiet --locked "$1"; fi
    hash -r
    command -v "$1" >/dev/null || { echo "skipped: there is no $1 here"; return 77; }
}
