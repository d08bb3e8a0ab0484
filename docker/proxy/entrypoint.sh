#!/bin/sh
# Starts nginx in front of a server of detserve's: variables → nginx.conf, all checked before anything starts.
# In the container, and on any machine with nginx and envsubst (Debian's nginx-light and gettext-base): docs/proxy.md.
set -eu

fail() {
    echo "proxy: $*" >&2
    exit 1
}
matches() { printf %s "$1" | grep -qxE "$2"; }

: "${SERVER:=127.0.0.1:8080}" "${HEALTH:=/ping}" "${ADDRESS:=0.0.0.0}" "${PORT:=8443}" "${RUN_DIR:=/tmp/proxy}"
: "${TLS:=on}" "${TLS_CERTIFICATE:=/tls/tls.crt}" "${TLS_KEY:=/tls/tls.key}" "${TRUSTED:=}"
: "${RATE:=50}" "${BURST:=100}" "${REQUESTS:=32}" "${FORMS:=2}" "${FORM_MB:=8}"
: "${SLOW_SECONDS:=10}" "${IDLE_SECONDS:=30}"

port='([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])'
byte='(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
address="$byte(\\.$byte){3}"
matches "$SERVER" "[A-Za-z0-9._-]+:$port" || fail "SERVER is HOST:PORT, server:8080 for instance, not '$SERVER'"
matches "$HEALTH" '/[A-Za-z0-9._/-]*' || fail "HEALTH is a path of the server, /ping for instance, not '$HEALTH'"
matches "$ADDRESS" "$address" || fail "ADDRESS is an IPv4 address, 0.0.0.0 for instance, not '$ADDRESS'"
matches "$PORT" "$port" || fail "PORT is a whole number from 1 to 65535, not '$PORT'"
value=
for name in RATE BURST REQUESTS FORMS FORM_MB SLOW_SECONDS IDLE_SECONDS; do
    eval "value=\$$name"
    matches "$value" '[1-9][0-9]{0,4}' || fail "$name is a whole number from 1 to 99999, not '$value'"
done
trusted=
for value in $TRUSTED; do
    matches "$value" "$address(/([12]?[0-9]|3[0-2]))?" ||
        fail "TRUSTED is IPv4 addresses, 10.0.0.0/8 for instance, not '$value'"
    trusted="${trusted}set_real_ip_from $value; "
done
case $(printf %s "$TLS" | tr '[:upper:]' '[:lower:]') in
    on | 1 | true | yes)
        for name in TLS_CERTIFICATE TLS_KEY; do
            eval "value=\$$name"
            matches "$value" '/[A-Za-z0-9._/-]+' || fail "$name is the whole path of a file, not '$value'"
            [ -r "$value" ] || fail "$name: $value cannot be read; mount a certificate and its key there, or TLS=off"
        done
        LISTEN="$ADDRESS:$PORT ssl"
        TLS_LINES="ssl_certificate $TLS_CERTIFICATE; ssl_certificate_key $TLS_KEY;"
        ;;
    off | 0 | false | no)
        LISTEN="$ADDRESS:$PORT"
        TLS_LINES=
        ;;
    *) fail "TLS is on or off, not '$TLS'" ;;
esac
TRUSTED_LINES=$trusted
export SERVER HEALTH RATE BURST REQUESTS FORMS FORM_MB SLOW_SECONDS IDLE_SECONDS LISTEN TLS_LINES TRUSTED_LINES

rm -rf "$RUN_DIR/bodies" "$RUN_DIR/answers" # of one that was killed
mkdir -p "$RUN_DIR" && chmod 755 "$RUN_DIR" && [ -w "$RUN_DIR" ] || fail "RUN_DIR: $RUN_DIR cannot be written"
# shellcheck disable=SC2016 # the names, not their values
names='$SERVER $HEALTH $RATE $BURST $REQUESTS $FORMS $FORM_MB $SLOW_SECONDS $IDLE_SECONDS $LISTEN $TLS_LINES $TRUSTED_LINES'
envsubst "$names" <"$(dirname "$0")/nginx.conf.template" >"$RUN_DIR/nginx.conf"
# What the machine has a say in: an address that is not its own, a certificate that does not fit its key.
said=$(nginx -t -q -p "$RUN_DIR" -c nginx.conf -e stderr 2>&1) || case $said in
    *"host not found in upstream"*) fail "SERVER: '${SERVER%:*}' has no address (yet); start the server first" ;;
    *) fail "nginx cannot start: $(printf %s "$said" | sed -nE 's/.*\[emerg\] ([0-9#]+: )?//p' | head -n 1)" ;;
esac
# shellcheck disable=SC3045 # dash has both
ulimit -n "$(ulimit -Hn)" # a connection is a file, and so is the one behind it
exec nginx -p "$RUN_DIR" -c nginx.conf -e stderr -g 'daemon off;' "$@"
