#!/bin/sh
# Makes random secrets beside itself. A file that is there stays as it is.
set -eu
umask 077
cd "$(dirname "$0")"

for name in admin receiver agent github; do
    if [ ! -e "$name" ]; then
        od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$name"
    fi
done

# The seed of an Ed25519 key.
if [ ! -e report ]; then
    head -c 32 /dev/urandom | base64 >report
fi

# NATS reads a word without quotation marks as a number if it looks like one.
cat >passwords.conf <<END
ADMIN_PASSWORD: "$(cat admin)"
RECEIVER_PASSWORD: "$(cat receiver)"
AGENT_PASSWORD: "$(cat agent)"
END
