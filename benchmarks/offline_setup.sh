# Sourced on the GPU machine, `. FOLDER/setup.sh`: unpacks the pack that it lies in (benchmarks/offline_pack.py), once,
# and goes to the project, with the packages on PYTHONPATH. In a pack without one the current folder is the project.
# PACK_TARGET is where to, else a folder of its own in /tmp. A failure ends the shell: nothing after it could run.
pack=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd) || exit 1
target=${PACK_TARGET:-${TMPDIR:-/tmp}/legged_ppo_$(cat "$pack"/*.xz | sha256sum | cut -c1-12)}
if [ ! -f "$target/unpacked" ]; then
    "${PYTHON:-python3}" - "$pack" "$target" <<'PY' || exit 1
import lzma
import shutil
import sys
import tarfile
from pathlib import Path

pack, target = map(Path, sys.argv[1:])
for name in ("site", "project", "cache"):
    archive = pack / f"{name}.tar.xz"
    if name != "site" and not archive.is_file():
        continue  # `--skip-project`, `--skip-cache`
    with tarfile.open(archive) as tar:
        tar.extractall(target / name, filter="data")
library = target / "site" / "warp" / "bin" / "warp.so"
library.parent.mkdir(parents=True, exist_ok=True)
with lzma.open(pack / "warp.so.xz") as source, open(library, "wb") as whole:
    shutil.copyfileobj(source, whole, 2**24)
(target / "unpacked").touch()
PY
fi
if [ -f "$pack/project.tar.xz" ]; then cd "$target/project" || exit 1; fi
export PYTHONPATH="$PWD:$target/site" WARP_CACHE_PATH="$target/cache"
