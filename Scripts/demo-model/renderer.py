"""Calls the `abbozzo` executable, and tells what its pictures are made by."""
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "models" / "demo"
READ_OF_MODELS = (".safetensors", ".json", ".txt", ".model")  # weights, sizes, tokenizers; no README


def add_arguments(parser):
    parser.add_argument("--abbozzo", metavar="FILE", help="the executable; default the newest build of this checkout")
    parser.add_argument("--model", default=str(DEMO), metavar="FOLDER", help="default: the demo model")
    parser.add_argument("--threads", type=int, default=1, help="threads of the renderer (default %(default)s)")


def executable(a):
    """The build that was asked for, or the newest."""
    if a.abbozzo:
        return str(Path(a.abbozzo).resolve())
    builds = [p for p in (ROOT / ".build" / kind / "abbozzo" for kind in ("release", "debug")) if p.exists()]
    if not builds:
        sys.exit("there is no build of abbozzo: swift build -c release --product abbozzo")
    return str(max(builds, key=os.path.getmtime))


def digest(*paths):
    """What tells files from others, and of folders all that rendering reads of a model, in linked folders too."""
    total = hashlib.sha256()
    for path in map(str, paths):
        inside = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names
                        if name.endswith(READ_OF_MODELS))
        for name in [path] if os.path.isfile(path) else inside:
            with open(name, "rb") as file:
                total.update(os.path.relpath(name, path).encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def render(a, prompt, path, *options):
    """Renders one picture; returns the renderer's report with the process's `wallSeconds`."""
    command = [executable(a), "render", "--model", a.model, "--prompt", prompt, "--threads", str(a.threads), "--json",
               "--output", str(path), *map(str, options)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit("%s\n%s" % (" ".join(command), done.stderr.strip()))
    return dict(json.loads(done.stdout), wallSeconds=time.perf_counter() - begin)
