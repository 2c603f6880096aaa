#!/bin/sh
# run.sh SECONDS [TARGET…]: runs the targets, or all of them, one after the other for so long each. Begins with their seeds, for
# readers with all recorded payloads too; what it learns goes to corpus/, what it finds to artifacts/. Needs a nightly
# toolchain and cargo-fuzz.
set -eu
seconds=$1
shift
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(ls targets | sed 's/\.rs$//')
for target; do
    mkdir -p "corpus/$target" "seeds/$target"
    case $target in payload_*) recorded=../tests/payloads ;; *) recorded= ;; esac
    # No sanitizer: there is no unsafe code in Towline, and without one the targets are built and run several times faster.
    cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" $recorded -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024
done
