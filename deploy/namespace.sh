#!/bin/sh
# Registers the Namespace `default` and waits until it can be used. Where: TEMPORAL_ADDRESS, as the temporal CLI reads it.
set -eu

tries=0
until temporal operator namespace describe --namespace default >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
        echo "Namespace default cannot be registered at $TEMPORAL_ADDRESS" >&2
        exit 1
    fi
    temporal operator namespace create --namespace default --retention 72h || true
    sleep 1
done
