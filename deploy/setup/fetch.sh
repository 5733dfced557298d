#!/bin/sh
# Fetches what Sightline needs at run time into .sightline/ at the repository's root: libonnxruntime, TensorRT-RTX, models, videos,
# pictures. Each is pinned in pins.toml. Does nothing twice. See `deploy/setup/fetch.sh --help`.
set -eu
exec python3 -B "$(dirname "$0")/fetch.py" "$@"
