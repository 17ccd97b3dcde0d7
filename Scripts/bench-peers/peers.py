"""The blocks of a FLUX in PyTorch and in OpenVINO, with random weights; one process for one library and one format.

    peers.py prepare --models DIR ...            converts the blocks for OpenVINO, checks them against PyTorch
    peers.py facts ...                           versions, and what PyTorch counts as a block's operations
    peers.py run LIBRARY FORMAT --rows 1536 ...  times both blocks: a line of JSON for each shape

Formats of PyTorch: f32, bf16. Of OpenVINO: f32, bf16 (the precision hint), int8-weights (nncf.compress_weights:
weights int8, what they are multiplied in as the plug-in chooses), int8 (nncf.quantize: activations, too, calibrated on random
inputs). What is not int8 in the last two has the plug-in's own format, bf16 where the processor has it.
"""
import argparse
import collections
import importlib.metadata
import json
import statistics
import sys
import time
from pathlib import Path

KINDS = ("double", "single")
SEED = 20260101


def block(kind, heads, head_width, dtype="float32", device="cpu"):
    """A diffusers block whose parameters are noise between -1/32 and 1/32."""
    import torch
    from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock, FluxTransformerBlock

    with torch.device("meta"):
        made = {"double": FluxTransformerBlock, "single": FluxSingleTransformerBlock}[kind](
            dim=heads * head_width, num_attention_heads=heads, attention_head_dim=head_width)
    if device != "meta":
        made = made.to_empty(device=device)
        generator = torch.Generator().manual_seed(SEED)
        for parameter in made.parameters():
            parameter.data.uniform_(-1 / 32, 1 / 32, generator=generator)
    return made.to(getattr(torch, dtype)).eval().requires_grad_(False)


def inputs(rows, text, heads, head_width, dtype="float32", device="cpu"):
    """Hidden states of image and text, the conditioning vector, and the rotary table's cosines and sines."""
    import torch

    width, generator = heads * head_width, torch.Generator().manual_seed(SEED + 1)
    states = [(torch.rand(shape, generator=generator) * 2 - 1).to(getattr(torch, dtype))
              for shape in ((1, rows - text, width), (1, text, width), (1, width))]
    angles = torch.rand((rows, head_width // 2), generator=generator).repeat_interleave(2, dim=1) * 6
    return [tensor.to(device) for tensor in (*states, angles.cos(), angles.sin())]


def flat(made):
    """The block as a module of five tensors."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = made

        def forward(self, image, text, vector, cosines, sines):
            return self.block(image, text, vector, image_rotary_emb=(cosines, sines))
    return Flat().eval()


# MARK: - Preparing

def prepare(a):
    """Writes an OpenVINO model for each kind of block and each way of storing its weights."""
    import nncf
    import numpy
    import openvino
    import torch

    torch.set_num_threads(a.threads)
    nncf.set_log_level(40)
    for kind in KINDS:
        made = flat(block(kind, a.heads, a.head_width))
        example = inputs(96, 32, a.heads, a.head_width)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in made(*example)]
        model = openvino.convert_model(made, example_input=tuple(example))
        for port, name in zip(model.inputs, ("image", "text", "vector", "cosines", "sines")):
            port.get_tensor().set_names({name})
        # Not as compressed 16-bit numbers: f32 is to be f32.
        openvino.save_model(model, path(a, kind, "f32"), compress_to_fp16=False)
        del made, model

        core = openvino.Core()
        sample = [tensor.numpy() for tensor in example]
        result = core.compile_model(path(a, kind, "f32"), "CPU", settings(a, "f32"))(sample)
        error = max(numpy.abs(result[i] - expected[i]).max() / numpy.abs(expected[i]).max() for i in range(2))
        print(json.dumps({"converted": kind, "relativeError": float(error)}), flush=True)
        if not error < 1e-3:
            sys.exit("the %s block gives other numbers in OpenVINO than in PyTorch: relative error %g" % (kind, error))
        del result

        openvino.save_model(
            nncf.compress_weights(core.read_model(path(a, kind, "f32"))), path(a, kind, "int8-weights"), compress_to_fp16=False)
        quantised = nncf.quantize(
            core.read_model(path(a, kind, "f32")), nncf.Dataset([sample]), subset_size=1,
            model_type=nncf.ModelType.TRANSFORMER)
        openvino.save_model(quantised, path(a, kind, "int8"), compress_to_fp16=False)
        del quantised


def path(a, kind, name):
    return Path(a.models) / ("%s-%s.xml" % (kind, name))


def settings(a, name):
    hint = {"INFERENCE_PRECISION_HINT": name} if name in ("f32", "bf16") else {}
    return {**hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": a.threads, "NUM_STREAMS": 1}


# MARK: - Running

def run(a):
    shapes = [(kind, rows) for rows in a.rows for kind in KINDS]
    {"pytorch": pytorch, "openvino": openvino_}[a.peer](a, shapes)


def pytorch(a, shapes):
    import torch

    torch.set_num_threads(a.threads)
    dtype = {"f32": "float32", "bf16": "bfloat16"}[a.format]
    made = {kind: block(kind, a.heads, a.head_width, dtype) for kind in KINDS}
    how = torch.backends.cpu.get_cpu_capability()
    if a.format == "bf16":
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        how += ", oneDNN has bf16" if supported else ", oneDNN has no bf16 here: PyTorch's own loops"
    with torch.inference_mode():
        for kind, rows in shapes:
            image, text, vector, *rotary = inputs(rows, a.text, a.heads, a.head_width, dtype)

            def once(share=1.0):
                one, other = (tensor[:, :max(1, int(tensor.shape[1] * share))] for tensor in (image, text))
                table = tuple(tensor[:one.shape[1] + other.shape[1]] for tensor in rotary)
                made[kind](one, other, vector, image_rotary_emb=table)
            # Where nobody wrote a fast program for a format, a block may take minutes: a 24th part of the rows tells.
            once(1 / 24)
            estimate = 24 * seconds(lambda: once(1 / 24))
            if estimate > a.limit:
                say(a, kind, rows, how=how, refused=True, estimatedSeconds=estimate)
                continue
            measure(a, kind, rows, how, once)


def openvino_(a, shapes):
    import openvino

    core = openvino.Core()
    name = "f32" if a.format == "bf16" else a.format
    for kind in KINDS:
        for rows in sorted({rows for _, rows in shapes}):
            model = core.read_model(path(a, kind, name))
            sample = inputs(rows, a.text, a.heads, a.head_width)
            model.reshape({port: openvino.PartialShape(tensor.shape) for port, tensor in zip(model.inputs, sample)})
            compiled = core.compile_model(model, "CPU", settings(a, a.format))
            del model
            precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            how = "%s; hint %s" % (implementations(compiled), precision)
            if a.format == "bf16" and precision != "bf16":
                return say(a, kind, rows, how="the hint bf16 is taken as %s on this processor" % precision, refused=True)
            request = compiled.create_infer_request()
            for port, tensor in zip(compiled.inputs, sample):
                request.set_tensor(port, openvino.Tensor(tensor.numpy()))

            def once():
                request.start_async()
                request.wait()
            measure(a, kind, rows, how, once)
            del request, compiled


def implementations(compiled):
    """Which of the plug-in's programs run the dense layers and, where it is not fused, attention."""
    found = collections.Counter()
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()

        def fact(name):
            return facts[name].astype(str) if name in facts else ""
        if fact("layerType") in ("FullyConnected", "MatMul") or fact("layerType").startswith("ScaledDotProductAttention"):
            found["%s %s" % (fact("layerType"), fact("primitiveType"))] += 1
    return ", ".join("%d %s" % (count, name) for name, count in sorted(found.items()))


def measure(a, kind, rows, how, once):
    """Runs once for warmth, then `--runs` times; a run that takes half a minute is the only one."""
    first = seconds(once)
    times = [first] if first > 30 else [seconds(once) for _ in range(a.runs)]
    say(a, kind, rows, how=how, runs=len(times), minimumSeconds=min(times), medianSeconds=statistics.median(times))


def seconds(once):
    begin = time.perf_counter()
    once()
    return time.perf_counter() - begin


def say(a, kind, rows, **fields):
    print(json.dumps(dict(library=a.peer, format=a.format, kind=kind, rows=rows, **fields)), flush=True)


# MARK: - Facts

def facts(a):
    """Versions, and the operations that PyTorch counts in its blocks without computing them."""
    from torch.utils.flop_counter import FlopCounterMode

    operations = {}
    for kind in KINDS:
        made = flat(block(kind, a.heads, a.head_width, device="meta"))
        for rows in a.rows:
            with FlopCounterMode(display=False) as counter:
                made(*inputs(rows, a.text, a.heads, a.head_width, device="meta"))
            operations["%s %d" % (kind, rows)] = counter.get_total_flops()
    names = ("torch", "diffusers", "openvino", "nncf")
    print(json.dumps({"versions": {name: importlib.metadata.version(name) for name in names},
                      "python": sys.version.split()[0], "operations": operations}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "facts", "run"):
        command = commands.add_parser(name)
        if name == "run":
            command.add_argument("peer", choices=["pytorch", "openvino"])
            command.add_argument("format", choices=["f32", "bf16", "int8-weights", "int8"])
        command.add_argument("--models", metavar="DIR", required=name == "prepare")
        for flag, value in (("threads", 1), ("heads", 24), ("head-width", 128), ("text", 512), ("runs", 3)):
            command.add_argument("--" + flag, type=int, default=value)
        command.add_argument("--limit", type=float, default=60.0)
        command.add_argument("--rows", type=lambda s: [int(n) for n in s.split(",")], default=[1536])
    a = parser.parse_args()
    {"prepare": prepare, "facts": facts, "run": run}[a.command](a)


if __name__ == "__main__":
    main()
