# shellcheck shell=bash
# Settings of the server, as it will read them itself: flags over the environment over .env.

# setting NAME DEFAULT: NAME as in MCP_NAME and --name.
setting() {
  local name=$1 variable=MCP_${1^^} value='' i
  variable=${variable//-/_}
  for ((i = 0; i < ${#script_args[@]}; i++)); do
    case ${script_args[i]} in
      "--$name") value=${script_args[i + 1]:-} ;;
      "--$name="*) value=${script_args[i]#*=} ;;
    esac
  done
  value=${value:-${!variable:-}}
  value=${value:-$(sed -n "s/^$variable=[\"']\{0,1\}\([^\"']*\).*/\1/p" .env 2>/dev/null | tail -n 1)}
  echo "${value:-$2}"
}

# Behind a proxy that signs TLS anew, npm in a container needs the certificate authorities that the host trusts.
ca_bundle_export() {
  local bundle=${NODE_EXTRA_CA_CERTS:-${SSL_CERT_FILE:-}}
  [[ -z $(setting sandbox-ca-bundle '') && -r $bundle ]] || return 0
  export MCP_SANDBOX_CA_BUNDLE=$bundle
}
