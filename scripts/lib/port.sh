# shellcheck shell=bash
# TCP ports on this machine.

port_answers() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# Below the range that the kernel hands out to clients, so nothing takes it by chance before the server does.
port_free() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    port_answers 127.0.0.1 "$port" || break
  done
  echo "$port"
}

# A server on loopback is open to every user of the machine.
random_password() { od -A n -N 16 -t x1 /dev/urandom | tr -d ' \n'; }
