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
start() {
    SECONDS=0
    "$engine" run -d --name "$name" --stop-timeout 60 -p "127.0.0.1:$port:8080" "${strict[@]}" "$@" >/dev/null
}
remove() { "$engine" rm -fv "$name" >/dev/null; }
health() { "$engine" exec "$name" python /app/docker/healthcheck.py; }
predict() { curl -sS --noproxy '*' -o "$scratch/answer" -w '%{http_code}' "$@" "http://127.0.0.1:$port/predictions/$model"; }
reachable() {
    "$engine" exec "$name" python -c \
        "import socket; socket.create_connection((socket.gethostbyname(socket.gethostname()), $1), 2)"
}
wait_healthy() {
    for _ in $(seq 120); do
        if health >"$scratch/health" 2>&1; then say "healthy after $SECONDS s"; return; fi
        [ "$("$engine" inspect --format '{{.State.Running}}' "$name")" = true ] || fail "the container has ended"
        sleep 1
    done
    fail "not healthy after two minutes: $(cat "$scratch/health")"
}
inside() { "$engine" run --rm -i --entrypoint "$1" "$image" "${@:2}"; }
# The entry point refuses it with this one line and status 1.
refused() {
    local line=$1 status=0
    "$engine" run --rm "${@:2}" "$image" >"$scratch/out" 2>"$scratch/err" || status=$?
    said=$(grep -v '^time=' "$scratch/err" || true) # without podman's own complaints
    if [ "$status" != 1 ] || [ -s "$scratch/out" ] || [ "$said" != "entrypoint: $line" ]; then
        fail "${*:2}: status $status, $(cat "$scratch/out" "$scratch/err")"
    fi
}
stop() {
    "$engine" stop "$name" >/dev/null
    code=$("$engine" inspect --format '{{.State.ExitCode}}' "$name")
    [ "$code" = 0 ] || fail "stopped with status $code"
}

say "no file lends its owner's rights; no tests of the packages"
found=$(inside find / -xdev -type f -perm /6000 2>/dev/null; inside find /opt/venv -type d -regex '.*/\(unit_\)?tests?')
[ -z "$found" ] || fail "in the image: $found"

say "variables that make no sense"
refused "BATCH_SIZE is a whole number from 1 to 1000, not 'abc'" -e BATCH_SIZE=abc
refused "DETSERVE_THREADS is a whole number from 1 to 1000, not 'abc'" -e DETSERVE_THREADS=abc
refused "MODELS is NAME or NAME=WORKERS each, 'fd1=2 td1' for instance, not 'fd1=x'" -e MODELS=fd1=x
refused "ENGINES: this image serves the archives that it holds and builds none: leave it out" -e ENGINES=/tmp
refused "MODELS: no archive of fd9 in /app/model_store, only fd1, ocr1, td1" -e MODELS=fd9

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

say "stopped while 60 callers of ocr1 wait"
inside python - >"$scratch/page.png" <<'PY'
import sys, cv2, numpy
page = numpy.full((800, 640, 3), 255, numpy.uint8)
for y in range(40, 800, 40):
    cv2.putText(page, "a line of text to be read", (20, y), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2)
sys.stdout.buffer.write(cv2.imencode(".png", page)[1].tobytes())
PY
start -e TOKEN_AUTH=false -e MODELS=ocr1 "$image"
wait_healthy
for n in $(seq 60); do
    curl -s --noproxy '*' -T "$scratch/page.png" -o "$scratch/ocr$n" -w '%{http_code}\n' \
        "http://127.0.0.1:$port/predictions/ocr1" >>"$scratch/statuses" &
done
sleep 2
under_way=$((60 - $(wc -l <"$scratch/statuses")))
[ "$under_way" -gt 0 ] || fail "all 60 were answered before the stop: a longer page is needed"
SECONDS=0
stop
for _ in $(seq 100); do [ "$(wc -l <"$scratch/statuses")" -ge 60 ] || sleep 0.1; done
say "$under_way of them when it was stopped; it took $SECONDS s"
[ "$(grep -c '^200$' "$scratch/statuses")" = 60 ] || fail "of 60: $(sort "$scratch/statuses" | uniq -c | xargs)"
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
inside python - <"$scratch/archive.py" >"$scratch/bad.mar"
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
