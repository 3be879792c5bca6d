#!/bin/sh
# All tests on a GPU, one after the other: `sh docker/gpu-matrix.sh [options of pytest]` at the
# top of the repository. Ends with 1 where one of them failed, and at once where there is no GPU:
# then every test would be skipped, and nothing would say so.
xpnn backends --require cupy || exit 1

failed=""
run() {
    echo
    echo "+ $*"
    "$@" || failed="$failed
failed: $*"
}

run python -m pytest tests/gpu "$@"
run python -m pytest --backends cupy --ignore tests/gpu "$@"
run xpnn check --backends cupy

if [ -n "$failed" ]; then
    echo "$failed"
    exit 1
fi
echo "all passed"
