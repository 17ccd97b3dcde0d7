"""Blocks of a FLUX with random weights in Abbozzo and in others, in rounds; tables in Markdown.

A round starts each program once, one at a time, ours between the others. Each program makes its
weights, runs a shape once for warmth and then three times (no more where the first takes half a minute), and tells the
shortest and the median time. The tables have the shortest time of all rounds and the median of the rounds' medians.
"""
import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

BEGIN = time.monotonic()
PEERS = Path(__file__).with_name("peers.py")
OURS = ("f32", "bf16", "int8")
ORDER = (  # of a round
    ("abbozzo", "f32"), ("pytorch", "f32"), ("openvino", "f32"), ("abbozzo", "bf16"), ("pytorch", "bf16"), ("openvino", "bf16"),
    ("abbozzo", "int8"), ("openvino", "int8-weights"), ("openvino", "int8"),
)
NAMES = {"abbozzo": "Abbozzo", "pytorch": "PyTorch", "openvino": "OpenVINO"}
KINDS = ("double", "single")
FORMATS = {"int8-weights": "int8 weights", "int8": "int8, calibrated"}
INSTRUCTIONS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
LEFT_OUT = (
    "stable-diffusion.cpp is left out: PyPI has stable-diffusion-cpp-python as source only, which builds a C++ project "
    "at installation and runs whole models from complete files, no single block.")


# MARK: - Measuring

def measured(a):
    """Yields a record of facts, then one for each program, shape and round."""
    common = ["--threads", a.threads, "--heads", a.heads, "--head-width", a.head_width, "--text", a.text]
    common += ["--rows", ",".join(map(str, a.rows))]
    facts = next(child([sys.executable, PEERS, "facts", *common]))
    version = subprocess.run([a.abbozzo, "--version"], capture_output=True, text=True).stdout.strip()
    yield dict(
        facts, abbozzo=version, hint="OpenVINO's own for what is not int8", processor=processor(), instructions=instructions(),
        threads=a.threads, heads=a.heads, headWidth=a.head_width, text=a.text, rounds=a.rounds)
    chosen = [one for one in ORDER if a.only is None or "-".join(one) in a.only or one[0] in a.only]
    with tempfile.TemporaryDirectory() as models:
        if any(library == "openvino" for library, _ in chosen):
            progress("converting the blocks for OpenVINO")
            yield from child([sys.executable, PEERS, "prepare", "--models", models, *common])
        refused = set()  # what a library refuses in one round it would refuse in the next
        for round_ in range(1, a.rounds + 1):
            for library, format_ in chosen:
                rows = [n for n in a.rows if not {(library, format_, n, kind) for kind in KINDS} <= refused]
                if not rows:
                    continue
                progress("round %d of %d: %s %s" % (round_, a.rounds, NAMES[library], format_))
                run = [sys.executable, PEERS, "run", library, format_, "--models", models, "--runs", a.runs, "--limit", a.limit]
                run += [*common, "--rows", ",".join(map(str, rows))]
                for record in ours(a, format_) if library == "abbozzo" else child(run):
                    if record.get("refused"):  # a block that takes too long, or else the format
                        is_one = "estimatedSeconds" in record
                        refused |= {(library, format_, n, kind) for n in a.rows for kind in KINDS
                                    if not is_one or (n, kind) == (record["rows"], record["kind"])}
                    yield dict(record, round=round_)
    # ru_maxrss counts kilobytes: that of the largest child.
    yield {"peakGB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6}


def ours(a, format_):
    """`abbozzo bench block`, at least three runs a line."""
    for line in child([
            a.abbozzo, "bench", "block", "--compute", format_, "--threads", a.threads, "--seconds", 0, "--heads", a.heads,
            "--head-width", a.head_width, "--text", a.text, "--rows", ",".join(map(str, a.rows))]):
        # "1 double, 1024 + 512 rows, width 3072"
        words = line["shape"].replace(",", "").split()
        yield dict(
            library="abbozzo", format=format_, kind=words[1], rows=int(words[2]) + int(words[4]), runs=line["runs"],
            minimumSeconds=line["minimumSeconds"], medianSeconds=line["medianSeconds"], how="kernels " + line["kernels"],
            operations=line["rate"] * line["medianSeconds"] * 1e9, share=line["share"])


def child(command):
    """Runs a program that prints lines of JSON; yields them. Whatever else it prints is not for us."""
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit("%s\nended with %d:\n%s" % (" ".join(command), done.returncode, done.stderr[-4000:]))
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def instructions():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    return [name for name in INSTRUCTIONS if name in flags]


def progress(text):
    print("%4.0f s  %s" % (time.monotonic() - BEGIN, text), file=sys.stderr, flush=True)


# MARK: - Tables

def same_work(facts, runs):
    """A line for each shape: what we say that a block costs beside what PyTorch counts; stops where they differ."""
    for shape, counted in facts["operations"].items():
        kind, rows = shape.split()
        for run in [run for format_ in OURS for run in runs[("abbozzo", format_, kind, int(rows))]][:1]:
            if abs(run["operations"] / counted - 1) > 0.01:
                sys.exit("a %s block of %s rows: Abbozzo counts %.4g operations, PyTorch %.4g: not the same work" % (
                    kind, rows, run["operations"], counted))
            yield "%s block, %s rows: %.1f GFLOP by Abbozzo's count, %.1f by PyTorch's" % (
                kind, rows, run["operations"] / 1e9, counted / 1e9)


def report(records):
    """Everything that people read, in lines."""
    facts, *others = (record for record in records if "versions" in record)
    for other in others:
        for name in {*facts, *other} - {"rounds", "operations"}:
            if facts.get(name) != other.get(name):
                sys.exit("these files do not belong into one table: %s is %s in one, %s in another" % (
                    name, facts.get(name), other.get(name)))
    counted = {}
    runs, how, refused = defaultdict(list), {}, {}  # how: what a program says about its inside
    for record in records:
        counted.update(record.get("operations", {}) if "versions" in record else {})
        if "library" not in record:
            continue
        key = (record["library"], record["format"], record["kind"], record["rows"])
        if record.get("refused"):
            refused[key] = record
        else:
            runs[key].append(record)
            how.setdefault(key[:2], {})[record["how"]] = None  # in order, each once
    shapes = sorted({key[3] for key in runs})

    def time(library, format_, kind, rows):
        found = runs.get((library, format_, kind, rows))
        return found and (statistics.median(r["medianSeconds"] for r in found), min(r["minimumSeconds"] for r in found))

    for rows in shapes:
        yield "Blocks of a FLUX of width %d with %d tokens, %d of them text, on %d threads. Milliseconds: median (shortest). " \
            "×: how many times as fast as this row both blocks are in Abbozzo." % (
                facts["heads"] * facts["headWidth"], rows, facts["text"], facts["threads"])
        yield ""
        yield "| %d tokens | double block | single block | %s |" % (rows, " | ".join("Abbozzo %s" % f for f in OURS))
        yield "| --- |" + " ---: |" * (2 + len(OURS))
        for library, format_ in ORDER:
            times = [time(library, format_, kind, rows) for kind in KINDS]
            if not all(times):
                continue
            both = sum(t[0] for t in times)
            mine = [[time("abbozzo", f, kind, rows) for kind in KINDS] for f in OURS]
            ratios = ["%.2f×" % (both / sum(t[0] for t in m)) if all(m) else "" for m in mine]
            yield "| %s %s | %s | %s |" % (
                NAMES[library], FORMATS.get(format_, format_) if library == "openvino" else format_,
                " | ".join("%.0f (%.0f)" % (1000 * t[0], 1000 * t[1]) for t in times), " | ".join(ratios))
        yield ""
    for (library, format_, kind, rows), record in sorted(refused.items()):
        if (library, format_, kind, rows) in runs:
            continue
        if "estimatedSeconds" in record:
            yield "- %s %s, %s block, %d tokens: not run, it would take about %.0f s." % (
                NAMES[library], format_, kind, rows, record["estimatedSeconds"])
        else:
            yield "- %s %s: not run, %s." % (NAMES[library], format_, record["how"])
    for (library, format_), said in how.items():
        yield "- %s %s: %s." % (NAMES[library], format_, "; ".join(said))
    yield "- %s; instructions: %s; %d threads." % (
        facts["processor"], " ".join(facts["instructions"]) or "none known", facts["threads"])
    yield "- Abbozzo %s; Python %s; %s." % (
        facts["abbozzo"], facts["python"], ", ".join("%s %s" % item for item in facts["versions"].items()))
    for line in same_work(dict(facts, operations=counted), runs):
        yield "- The same work: %s." % line
    errors = [record["relativeError"] for record in records if "relativeError" in record]
    if errors:
        yield "- OpenVINO's blocks give PyTorch's numbers in f32, relative error %.1e. `abbozzo bench` makes its own inputs: " \
            "its numbers are compared with diffusers' by the tests, not here." % max(errors)
    yield "- PyTorch runs without torch.compile, which needs a C++ compiler. %s" % LEFT_OUT
    peaks = [record["peakGB"] for record in records if "peakGB" in record]
    if peaks:
        yield "- Largest process: %.1f GB." % max(peaks)


def main():
    parser = argparse.ArgumentParser(
        prog="Scripts/bench-peers.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)  # the script around this looks for --table and --help
    parser.add_argument("--abbozzo", required=True, help=argparse.SUPPRESS)
    add = parser.add_argument
    add("--quick", action="store_true", help="1536 tokens, one round, --limit 10")
    add("--rows", type=lambda s: [int(n) for n in s.split(",")], metavar="N,N",
        help="tokens of image and text together (default 1536,4608)")
    add("--text", type=int, default=512, metavar="N", help="how many of them are text (default %(default)s)")
    add("--heads", type=int, default=24, metavar="N", help="heads of attention (default %(default)s)")
    add("--head-width", type=int, default=128, metavar="N",
        help="channels of a head (default %(default)s); 64 gives the width of SD3-medium")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="default: one for each core")
    add("--rounds", type=int, metavar="N", help="default 3")
    add("--runs", type=int, default=3, metavar="N", help="of the others in a round, after one for warmth (default 3, as ours)")
    add("--limit", type=float, metavar="SECONDS", help="a block that PyTorch would take longer for is left out (default 60)")
    add("--only", nargs="+", metavar="NAME", help="some of: abbozzo pytorch openvino; or with a format: pytorch-bf16")
    add("--json", action="store_true", help="print every measurement as a line of JSON instead of tables")
    add("--table", nargs="+", metavar="FILE", help="measure nothing: tables of files that --json wrote")
    a = parser.parse_args()
    a.rows = a.rows or ([1536] if a.quick else [1536, 4608])
    a.rounds, a.limit = a.rounds or (1 if a.quick else 3), a.limit or (10 if a.quick else 60)
    if any(rows <= a.text for rows in a.rows):
        parser.error("--rows must be above --text")
    known = [*NAMES, *map("-".join, ORDER)]
    unknown = [name for name in a.only or [] if name not in known]
    if unknown:
        parser.error("--only does not know %s: it takes %s" % (" ".join(unknown), " ".join(known)))

    if a.table:
        records = [json.loads(line) for name in a.table for line in Path(name).read_text().splitlines()]
    else:
        records = []
        for record in measured(a):
            records.append(record)
            if a.json:
                print(json.dumps(record), flush=True)
    if a.table or not a.json:
        print("\n".join(report(records)))


if __name__ == "__main__":
    main()
