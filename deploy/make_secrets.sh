#!/bin/sh
# Makes the secrets that it is given the names of, one random file each. One that is there stays as it is. Those that
# WATCHING names are copied at every start for who watches the node, and may see no others.
set -eu
cd "${SECRETS:-/run/secrets}"
for name in "$@"; do
  [ -s "$name" ] && continue
  rm -f "$name.new" # of a start that was cut short: nobody may write it any more
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$name.new"
  chmod 0444 "$name.new" # PostgreSQL, Prometheus and Grafana read it as users of their own
  mv "$name.new" "$name"
done
for name in ${WATCHING:-}; do
  copy="${WATCHING_SECRETS:-/run/watching-secrets}/$name"
  cp -f "$name" "$copy.new"
  chmod 0444 "$copy.new"
  mv -f "$copy.new" "$copy"
done
