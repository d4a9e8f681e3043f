#!/usr/bin/env bash
# Installs the foreign peers of the test suite: from Debian's packages when run as root on Debian, otherwise it says
# what is missing. A test whose peer is missing skips, and fails when CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(dcmtk dicom3tools orthanc orthanc-dicomweb libpixelmed-java openjdk-17-jdk-headless redis-server postgresql prometheus openssl gcc libc6-dev e2fsprogs chromium rsyslog rsyslog-openssl)

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }
missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
else
  missing=("${packages[@]}")
fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing the tests' peers: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "Not installed, tests that need them are skipped: ${missing[*]}"
  fi
fi
# An identity provider for the login on the page; it wants Node.js 20 or newer, which Debian's stable release may not have.
provider=tests/web/provider
if command -v npm >/dev/null; then
  [ -d "$provider/node_modules/oidc-provider" ] || npm --prefix "$provider" ci --silent --no-audit --no-fund
else
  echo "Not installed, tests that need it are skipped: npm, for $provider"
fi
validators=../shared/tools/validate_sr/setup.sh
if [ -x "$validators" ]; then
  "$validators"
else
  echo "No ../shared/tools: tests against its validators and HL7 peers are skipped"
fi
