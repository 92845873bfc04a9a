#!/bin/sh
# Build the image with buildah, no container engine needed, then start it as its own metadata says:
# the health check must pass, a request must be answered, and SIGTERM must end it with exit code 0.
#
#   deploy/image/build-and-try.sh [BASE [BUILDAH-BUD-OPTION...]]
#
# BASE is any image with python3 >= 3.11 and venv; left out, it is the Dockerfile's. The options go to `buildah bud`:
# a private package index, say, with --volume /etc/pip.conf:/etc/pip.conf:ro, which leaves nothing in the image.
#
# Without a registry, a base can be made from Debian's packages:
#   mmdebstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm base.tar
#   container=$(buildah from scratch) && buildah add "$container" base.tar / && buildah commit "$container" fanout-base
set -eu
cd "$(dirname "$0")/../.."
if [ $# -gt 0 ]; then
  base=$1
  shift
  set -- --build-arg BASE="$base" "$@"
fi
image=${IMAGE:-fanout}
export BUILDAH_ISOLATION="${BUILDAH_ISOLATION:-chroot}" STORAGE_DRIVER="${STORAGE_DRIVER:-vfs}"

# HEALTHCHECK is docker's: the OCI format would drop it.
buildah bud --format docker "$@" --tag "$image" .

words='{{range .}}{{.}} {{end}}'
start=$(buildah inspect --type image --format \
  "{{with .Docker.Config.Entrypoint}}$words{{end}}{{with .Docker.Config.Cmd}}$words{{end}}" "$image")
health=$(buildah inspect --type image --format "{{with .Docker.Config.Healthcheck.Test}}$words{{end}}" "$image")
health=${health#CMD } health=${health% }

# buildah's own limit of 1,024 open files is below what the default FANOUT_MAX_IN_FLIGHT needs.
container=$(buildah from --pull-never --ulimit nofile=4096:4096 "$image")
trap 'buildah rm "$container" >/dev/null' EXIT
# The network may be the host's, so the image's fixed ports are replaced by free ones.
buildah run "$container" -- sh -s "$start" "$health" <<'INSIDE'
set -eu
start=$1 health=$2
free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
upstream=127.0.0.1:$(free_port)
export FANOUT_BIND="127.0.0.1:$(free_port)" FANOUT_ADMIN_BIND="127.0.0.1:$(free_port)"
export FANOUT_UPSTREAMS="http://$upstream/api/work"

# Whatever goes wrong, nothing outlives the minute, and a server that ignores SIGTERM is found out.
timeout -k 10 60 fanout upstream --reliable --bind "$upstream" & upstream_pid=$!
timeout -k 10 60 $start & server_pid=$!
trap 'kill "$upstream_pid" "$server_pid" 2>/dev/null || :' EXIT

answer() {
  python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())' \
    "http://$FANOUT_BIND/api/first?timeout=3000" 2>/dev/null
}
tries=50
until $health && answer; do
  tries=$((tries - 1))
  { [ "$tries" -gt 0 ] && kill -0 "$server_pid"; } || { echo "never became healthy" >&2; exit 1; }
  sleep 0.2
done
echo "user $(id -u): healthy by '$health', and answered"

kill -TERM "$server_pid"
wait "$server_pid"
echo "ended by SIGTERM with exit code 0"
INSIDE
