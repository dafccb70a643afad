# shellcheck shell=bash
# The public clients and the conformance suite, with the Node.js that they run on, as tests/clients/package-lock.json pins them.

# node_clients DIRECTORY: sets node_bin and node_modules from the lock file in DIRECTORY.
node_clients() {
  have npm || apt_install npm
  if ! cache_dir node "$1/package.json" "$1/package-lock.json"; then
    say "installing the test clients (npm ci in $cached)"
    cp "$1/package.json" "$1/package-lock.json" "$1/.npmrc" "$cached/"
    (cd "$cached" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
      die "npm ci failed: mend npm's registry setting, then run this again"
    cache_keep
  fi
  node_modules=$cached/node_modules
  node_bin=$(readlink -f "$node_modules"/node-linux-*/bin/node)
  [[ -x $node_bin ]] || die "npm installed no Node.js for $(uname -m): delete $cached, then run this again"
}
