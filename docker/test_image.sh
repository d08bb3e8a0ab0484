#!/usr/bin/env bash
# Tries an image as its users run it: docker/test_image.sh IMAGE [ENGINE]
# ENGINE: docker (the default) or podman. Needs curl; takes PORT (18080) on 127.0.0.1. For the CPU image with its archives.
set -euo pipefail
image=${1:?usage: docker/test_image.sh IMAGE [ENGINE]}
engine=${2:-docker}
port=${PORT:-18080}
picture=$(cd "$(dirname "$0")/.." && pwd)/docs/faces.jpg
name=detserve-test-$$
scratch=$(mktemp -d)
strict=(--read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp:size=64m)
if [ "$(basename "$engine")" = podman ]; then strict+=(--read-only-tmpfs=false); fi

finish() {
    status=$?
    if [ "$status" != 0 ]; then "$engine" logs "$name" >&2 || true; fi
    "$engine" rm -fv "$name" >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

say() { echo "- $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
start() { "$engine" run -d --name "$name" -p "127.0.0.1:$port:8080" "${strict[@]}" "$@" >/dev/null; }
remove() { "$engine" rm -fv "$name" >/dev/null; }
health() { "$engine" exec "$name" python /app/docker/healthcheck.py; }
predict() { curl -sS --noproxy '*' -o "$scratch/answer" -w '%{http_code}' "$@" "http://127.0.0.1:$port/predictions/$model"; }
reachable() {
    "$engine" exec "$name" python -c \
        "import socket; socket.create_connection((socket.gethostbyname(socket.gethostname()), $1), 2)"
}
wait_healthy() {
    for _ in $(seq 120); do
        if health >"$scratch/health" 2>&1; then return; fi
        [ "$("$engine" inspect --format '{{.State.Running}}' "$name")" = true ] || fail "the container has ended"
        sleep 1
    done
    fail "not healthy after two minutes: $(cat "$scratch/health")"
}
stop() {
    "$engine" stop -t 60 "$name" >/dev/null
    code=$("$engine" inspect --format '{{.State.ExitCode}}' "$name")
    [ "$code" = 0 ] || fail "stopped with status $code"
}

say "read-only, without capabilities, as a user of its own; a key is asked for"
start "$image"
if health >"$scratch/health" 2>&1; then fail "healthy before its models were ready: $(cat "$scratch/health")"; fi
wait_healthy
"$engine" inspect --format '{{json .Config.Healthcheck}}' "$name" | grep -q healthcheck.py || fail "no HEALTHCHECK"
[ "$("$engine" exec "$name" id -u)" = 10001 ] || fail "runs as another user than 10001"
if "$engine" exec "$name" touch /app/config/new 2>/dev/null; then fail "the file system is not read-only"; fi
model=fd1
[ "$(predict -T "$picture")" = 400 ] || fail "answered without a key"
key=$("$engine" exec "$name" api-key)
for model in fd1 td1 ocr1; do
    [ "$(predict -T "$picture" -H "Authorization: Bearer $key")" = 200 ] || fail "$model: $(cat "$scratch/answer")"
    if [ $model = fd1 ]; then grep -q landmarks_ratio "$scratch/answer" || fail "fd1 found no face"; fi
done
reachable 8080 || fail "port 8080 is not reachable at the container's address"
for management in 8081 7071; do
    if reachable $management 2>/dev/null; then fail "the management port $management is reachable at its address"; fi
done
stop
remove

say "any other user of the group root, the run directory in memory, no keys"
start --user 12345:0 --tmpfs /app/run:size=512m,mode=1777 -e TOKEN_AUTH=off -e MODELS=fd1=1 "$image"
wait_healthy
model=fd1
[ "$(predict -T "$picture")" = 200 ] || fail "fd1: $(cat "$scratch/answer")"
stop
remove

say "a model that cannot be loaded"
cat >"$scratch/archive.py" <<'PY'
import io, json, sys, zipfile
model = {"modelName": "bad", "handler": "bad_handler.py", "modelVersion": "1.0"}
manifest = {"createdOn": "today", "runtime": "python", "archiverVersion": "0.12.0", "model": model}
handler = "class Handler:\n    def initialize(self, context):\n        raise RuntimeError('no engine for this machine')\n" \
          "    def handle(self, rows, context):\n        return rows\n"
whole = io.BytesIO()
with zipfile.ZipFile(whole, "w") as archive:
    archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    archive.writestr("bad_handler.py", handler)
sys.stdout.buffer.write(whole.getvalue())
PY
"$engine" run --rm -i --entrypoint python "$image" - <"$scratch/archive.py" >"$scratch/bad.mar"
chmod 755 "$scratch"
bad=(-v "$scratch/bad.mar:/app/model_store/bad.mar:ro" -e MODELS="fd1=1 bad" -e TOKEN_AUTH=off)
start "${bad[@]}" "$image"
[ "$("$engine" wait "$name")" = 1 ] || fail "the container did not end with status 1"
"$engine" logs "$name" 2>&1 | grep -q '^serve: bad: .*no engine for this machine' || fail "the log does not say why"
remove

say "the same, tolerated"
start "${bad[@]}" -e TOLERATE_BROKEN=1 "$image"
wait_healthy
grep -q '^bad is left out: .*no engine' "$scratch/health" || fail "the healthcheck does not tell of it"
[ "$(predict -T "$picture")" = 200 ] || fail "fd1: $(cat "$scratch/answer")"
stop
remove
echo "All is well with $image"
