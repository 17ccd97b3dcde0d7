"""Writes randn.json: values of torch.randn on the CPU. Made with torch 2.13.0+cpu: python make.py"""
import json, pathlib, torch

cases = []
for seed in (0, 7, 42, 2**32 + 5, 2**63 + 11):
    for count in (1, 2, 7, 15, 16, 17, 31, 32, 100):
        torch.manual_seed(seed)
        cases.append({"seed": str(seed), "count": count, "values": torch.randn(count).tolist()})
path = pathlib.Path(__file__).with_name("randn.json")
path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
