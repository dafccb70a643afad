# shellcheck shell=bash
# A PostgreSQL of its own for a test run: a free port on loopback, data that nobody needs afterwards.

postgres_ensure() { [[ -n $(postgres_bin) ]] || apt_install postgresql; }

postgres_bin() {
  local initdb
  initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [[ ! -x $initdb ]] || dirname "$initdb"
}

# postgres_start DIRECTORY: sets postgres_url.
postgres_start() {
  local dir=$1 bin password port log
  bin=$(postgres_bin)
  log=$dir/postgres.log
  password=$(random_password)
  mkdir -m 700 "$dir"
  (umask 077 && printf '%s' "$password" >"$dir/password")
  # PostgreSQL refuses to run as root.
  [[ $(id -u) != 0 ]] || chown -R postgres: "$dir"
  postgres_as "$bin/initdb" --pgdata "$dir/data" --username postgres --pwfile "$dir/password" --auth scram-sha-256 \
    --encoding UTF8 --locale C.UTF-8 --no-sync >"$log" 2>&1 ||
    die "initdb failed ($(tail -n 6 "$log" | tr '\n' ' '))"
  port=$(port_free)
  # Losing this data is no loss: nothing waits for the disk.
  postgres_as "$bin/pg_ctl" --pgdata "$dir/data" --log "$dir/server.log" --wait --silent --options "-p $port \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories=$dir -c max_connections=400 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off" start >>"$log" 2>&1 9>&- ||
    die "PostgreSQL did not start ($(tail -n 1 "$dir/server.log"))"
  postgres_url=postgres://postgres:$password@127.0.0.1:$port/postgres
  say "PostgreSQL listens on 127.0.0.1:$port"
}

postgres_stop() {
  [[ ! -d $1/data ]] || postgres_as "$(postgres_bin)/pg_ctl" --pgdata "$1/data" --mode immediate --silent stop >/dev/null 2>&1 || true
}

# In / because the system user may not be let into the current directory.
postgres_as() (
  cd /
  if [[ $(id -u) == 0 ]]; then
    runuser -u postgres -- "$@"
  else
    "$@"
  fi
)
