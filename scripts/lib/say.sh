# shellcheck shell=bash
# Words to the person at the terminal. They go to stderr, so a function can still answer on stdout.

say() { printf '%s\n' "· $*" >&2; }

die() {
  printf '%s\n' "✗ $*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

may_be_root() { [[ $(id -u) == 0 ]] || have sudo; }

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "this needs root and there is no sudo: run it as root"
  fi
}
