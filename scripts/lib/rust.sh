# shellcheck shell=bash
# cargo, rustc and a linker, recent enough for the workspace.

# rust_ensure ROOT: ROOT is the workspace.
rust_ensure() {
  have cc || apt_install build-essential
  rust_recent "$1" || PATH=$HOME/.cargo/bin:$PATH
  rust_recent "$1" || rust_install
  (cd "$1" && cargo --version >/dev/null) ||
    die "cargo does not run: 'rustup toolchain install' in $1 says why; mend that, then run this again"
}

# With rustup the version is rust-toolchain.toml's affair; a distribution's own cargo may be too old.
rust_recent() {
  have cargo || return 1
  ! have rustup || return 0
  local wanted have_version
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1/Cargo.toml")
  have_version=$(cargo --version | cut -d ' ' -f 2)
  [[ $(printf '%s\n' "$wanted" "$have_version" | sort -V | head -n 1) == "$wanted" ]]
}

rust_install() {
  if ! have cargo && apt_refresh && apt_offers rustup; then
    apt_install rustup
    return
  fi
  have curl || apt_install curl ca-certificates
  say "installing the Rust toolchain (rustup, in ~/.cargo and ~/.rustup)"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
    RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y --quiet --no-modify-path --profile minimal --default-toolchain none >&2 ||
    die "rustup could not be installed: get Rust from https://rustup.rs, then run this again"
}
