# shellcheck shell=bash
# Debian packages, only those that are missing.

apt_offers() { apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [0-9]'; }

apt_installed() { [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]; }

apt_install() {
  have apt-get || die "no apt-get here: install $* by hand, then run this again"
  local package missing=()
  for package; do
    apt_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]} (apt)"
  apt_refresh
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >&2 ||
    die "apt could not install ${missing[*]}: mend the apt sources (apt-get update), then run this again"
}

# Once per run: an image of a bare machine often comes without package lists.
apt_refresh() {
  [[ -z ${apt_refreshed:-} ]] || return 0
  apt_refreshed=1
  as_root apt-get update -q >/dev/null 2>&1 || say "apt-get update failed; going on with the package lists at hand"
}
