# shellcheck shell=bash
# shellcheck disable=SC2015  # 'a && b || fail': fail ends the script
# Sourced by tools/pbx: installs Debian's Asterisk, or SIPp, into a folder, without root, a chroot or the host's package state.
#   fetch   the package and its whole closure, libc included, by apt into a private apt root
#   unpack  by dpkg-deb -x (no maintainer scripts run); the tree is then run with its own loader and libraries
# install_tree ROOT and install_sipp ROOT write ROOT at once or not at all; need say, step and fail from tools/pbx.

# Packages that only maintainer scripts and unrelated programs want.
UNWANTED='perl*|libperl*|gnupg*|gpg*|dirmngr*|pinentry*|adduser*|passwd*|debconf*|base-passwd*|libpam*|libsemanage*|libsepol*|login.defs*|pci.ids*|openssl-provider-legacy*|tzdata*|libgdbm*'

# The Debian mirror that this host's own apt uses.
find_mirror() {
  local mirror=${PBX_MIRROR:-}
  # shellcheck disable=SC2016  # $(REPO_URI) is apt's own syntax
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 -E '/debian/?$' || true)
  [ -n "$mirror" ] || mirror=$(sed -nE 's#^(URIs:|deb( \[[^]]*\])?)[[:space:]]+(https?://[^ ]+/debian/?)([[:space:]].*)?$#\3#p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
  printf '%s' "${mirror%/}"
}

# apt's configuration for a private root at $1, using keyring $2 and mirror $3.
write_apt_conf() {
  mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/empty.d" "$1/log"
  : > "$1/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$2" "$3" "$PBX_SUITE" > "$1/sources.list"
  cat > "$1/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "$1/empty.d";
Dir::Etc::preferencesparts "$1/empty.d";
Dir::State "$1";
Dir::State::lists "$1/lists";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
Dir::Log "$1/log";
APT::Sandbox::User "$(id -un 2>/dev/null || id -u)";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Debug::NoLocking "true";
CONF
}

# Prints how much of $2 bytes has arrived in folder $1 until it is stopped.
watch_download() {
  local have percent last=-25
  while sleep 0.5; do
    have=$(du -sb "$1" 2>/dev/null | cut -f 1)
    percent=$((${have:-0} * 100 / $2))
    [ "$percent" -le 100 ] || percent=100
    if [ -t 2 ]; then
      printf '\r[pbx] downloading: %3d %% of %d MB' "$percent" "$(($2 / 1000000))" >&2
    elif [ "$percent" -ge "$((last + 25))" ]; then
      last=$percent
      say "downloading: $percent % of $(($2 / 1000000)) MB"
    fi
  done
}

install_tree() { unpack_packages "$1" Asterisk 400 asterisk asterisk-core-sounds-en-gsm; }
install_sipp() { unpack_packages "$1" SIPp 200 sip-tester; }

# What Debian's maintainer scripts would have done, as far as it is wanted. PACKAGE TREE
finish_tree() {
  case $1 in
    asterisk) ln -sfn en_US_f_Allison "$2/usr/share/asterisk/sounds/en" ;;   # update-alternatives makes this link
  esac
}

# unpack_packages ROOT NAME MIB PACKAGE...: MIB is how much must be free; the version shown is the first package's.
unpack_packages() {
  local root=$1 name=$2 wanted_mib=$3 begun=$SECONDS
  shift 3
  local keyring mirror apt packages=("$@")
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
    || fail "$name is not installed yet and this host has no apt-get and dpkg-deb to fetch it with." \
            "Run on Debian or Ubuntu, or connect Parley to an Asterisk of your own: tools/pbx snippets prints what it needs."
  for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp} ''; do [ -e "$keyring" ] && break; done
  [ -n "$keyring" ] || fail "Debian's signing keys are missing." "Install them: apt-get install debian-archive-keyring"
  mirror=$(find_mirror)
  [ -n "$mirror" ] || fail "no Debian mirror is named in this host's apt sources." "Name one: PBX_MIRROR=http://YOUR-MIRROR/debian tools/pbx up"

  mkdir -p "$(dirname "$root")" 2>/dev/null || fail "cannot write to $(dirname "$root")." "Choose another folder with --home or --root."
  apt=$root.apt.$$
  # shellcheck disable=SC2064  # the paths as they are now
  trap "rm -rf '$apt' '$root.new.$$'" EXIT
  write_apt_conf "$apt" "$keyring" "$mirror"

  step "reading the package list of Debian $PBX_SUITE"
  apt-get -c "$apt/apt.conf" -qq update >"$apt/out" 2>&1 || {
    tail -n 4 "$apt/out" >&2
    fail "the package list could not be fetched: $name is not installed yet and the download needs the network once." \
         "Check the network and the apt proxy, then run this again (an old debian-archive-keyring also ends here: apt-get install --only-upgrade debian-archive-keyring)."
  }
  local bytes
  bytes=$(apt-get -c "$apt/apt.conf" -qq -y --print-uris install "${packages[@]}" 2>"$apt/out" | awk '{ sum += $3 } END { print sum + 0 }') || bytes=0
  [ "$bytes" -gt 0 ] || {
    tail -n 4 "$apt/out" >&2
    fail "Debian $PBX_SUITE on this mirror has no installable ${packages[0]} package." "Try another suite: PBX_SUITE=sid tools/pbx install"
  }
  local free_kib
  free_kib=$(df -Pk "$(dirname "$root")" | awk 'NR == 2 { print $4 }')
  [ "$free_kib" -gt "$((wanted_mib * 1024))" ] || fail "only $((free_kib / 1024)) MiB are free in $(dirname "$root"), $name needs $wanted_mib." "Free some space or choose another folder with --root."

  local watcher status=0
  watch_download "$apt/cache/archives" "$bytes" & watcher=$!
  apt-get -c "$apt/apt.conf" -qq -y --download-only install "${packages[@]}" >"$apt/out" 2>&1 || status=$?
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  [ -t 2 ] && printf '\r\033[K' >&2
  [ "$status" = 0 ] || { tail -n 4 "$apt/out" >&2; fail "the download failed." "Check the network and the free space, then run this again."; }

  step "unpacking"
  local deb version=unknown
  mkdir -p "$root.new.$$"
  for deb in "$apt"/cache/archives/*.deb; do
    # shellcheck disable=SC2053  # a pattern on purpose
    [[ ${deb##*/} == @($UNWANTED) ]] && continue
    case ${deb##*/} in "${packages[0]}"_*) version=$(dpkg-deb -f "$deb" Version); version=${version#*:} ;;   # without Debian's epoch
      esac
    dpkg-deb -x "$deb" "$root.new.$$" || fail "${deb##*/} could not be unpacked." "Free some space and run this again."
  done
  rm -rf "$root.new.$$"/usr/share/{doc,man,locale,info,lintian,icons,fonts,bug,snmp}
  finish_tree "${packages[0]}" "$root.new.$$"
  printf 'version=%s\nsuite=%s\n' "$version" "$PBX_SUITE" > "$root.new.$$/.pbx-release"
  chmod -R u+rwX,go+rX,go-w "$root.new.$$"
  rm -rf "$root"
  mv "$root.new.$$" "$root"
  rm -rf "$apt"
  trap - EXIT
  say "installed $name $version from Debian $PBX_SUITE in $((SECONDS - begun)) s, $(du -sm "$root" | cut -f 1) MB in $root"
}
