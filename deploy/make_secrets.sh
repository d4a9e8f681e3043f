#!/bin/sh
# Makes the secrets that it is given the names of, one random file each. One that is there stays as it is.
set -eu
cd "${SECRETS:-/run/secrets}"
for name in "$@"; do
  [ -s "$name" ] && continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$name.new"
  chmod 0444 "$name.new" # PostgreSQL, Prometheus and Grafana read it as users of their own
  mv "$name.new" "$name"
done
