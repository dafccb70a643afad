# shellcheck shell=bash
# Installs that are worth keeping between two test runs, each in a directory named by the hash of what was asked for.

cache_root=${XDG_CACHE_HOME:-$HOME/.cache}/dynamic-mcp-test

# cache_dir NAME FILE…: sets cached, and fails if it still has to be filled (cache_keep ends that).
cache_dir() {
  local name=$1
  shift
  cached=$cache_root/$name-$(cat "$@" | sha256sum | cut -c 1-16)
  [[ ! -e $cached/.complete ]] || return 0
  rm -rf "$cached"
  mkdir -p "$cached"
  return 1
}

# Written last: an install that was interrupted is made anew.
cache_keep() { touch "$cached/.complete"; }
