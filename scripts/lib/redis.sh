# shellcheck shell=bash
# A Redis of its own for a test run: a free port on loopback, nothing written to disk.

redis_ensure() { have redis-server || apt_install redis-server; }

# redis_start DIRECTORY: sets redis_url.
redis_start() {
  local dir=$1 password port deadline=$((SECONDS + 20))
  password=$(random_password)
  port=$(port_free)
  mkdir -m 700 "$dir"
  # The configuration goes in by stdin: an argument would show the password to every user.
  redis-server - >/dev/null 9>&- <<EOF_CONFIG
port $port
bind 127.0.0.1
requirepass $password
daemonize yes
dir $dir
pidfile $dir/redis.pid
logfile $dir/redis.log
save ""
appendonly no
EOF_CONFIG
  until REDISCLI_AUTH=$password redis-cli -p "$port" ping 2>/dev/null | grep -q PONG; do
    ((SECONDS < deadline)) || die "Redis did not start ($(tail -n 1 "$dir/redis.log"))"
    sleep 0.1
  done
  redis_url=redis://default:$password@127.0.0.1:$port/0
  say "Redis listens on 127.0.0.1:$port"
}

redis_stop() { [[ ! -s $1/redis.pid ]] || kill "$(cat "$1/redis.pid")" 2>/dev/null || true; }
