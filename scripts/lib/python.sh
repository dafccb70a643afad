# shellcheck shell=bash
# One virtual environment per requirements file: two versions of a package can't share one.

# python_venv NAME FILE: sets python_bin.
python_venv() {
  python_ensure
  if ! cache_dir "$1" "$2"; then
    say "installing $(basename "$2") (pip in $cached)"
    { "$python_base" -m venv "$cached" && "$cached/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2" >&2; } ||
      die "pip could not install $2: mend pip's index setting, then run this again"
    cache_keep
  fi
  python_bin=$cached/bin/python
}

python_ensure() {
  python_base=python3
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install python3-venv
    python_base=/usr/bin/python3
  fi
}
