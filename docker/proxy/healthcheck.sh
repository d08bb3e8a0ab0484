#!/bin/sh
# Whether the server behind the proxy answers: exit status 0 or 1.
set -eu
: "${PORT:=8443}" "${RUN_DIR:=/tmp/proxy}"
scheme=http
if grep -q ' ssl ' "$RUN_DIR/nginx.conf"; then scheme=https; fi
curl -kfsS -m 8 --noproxy '*' "$scheme://127.0.0.1:$PORT/health" && exit 0
# nginx asks for the address of a name when it reads its configuration only: a server that was made anew may have another.
nginx -p "$RUN_DIR" -c nginx.conf -e stderr -s reload
exit 1
