"""Train LeNet-5 and ResNet-18 for longer than notebook 08 may, and store what came of it as JSON.

``python -m tests.tools.long_run [FILE]`` goes on where it was stopped; see data/README.md.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
import torchvision

from helpers.mnist import load_mnist
from tests.tools.notebook_tools import PROJECT, load_implementation

RESULT = PROJECT / "data" / "lenet_and_resnet_run.json"
LESSON = load_implementation("08_lenet_and_resnet")
MAKES = {"LeNet-5": LESSON.lenet5, "ResNet-18": LESSON.resnet18_for_digits}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
SEEDS = np.random.default_rng(8).integers(2**32, size=6).tolist()
SEARCH_SEEDS, SEEDS = SEEDS[:2], SEEDS[2:]
FEW, EPOCH, STEPS = 40, 860, 3 * 860  # in batches of 64; 860 are 55,000 images
KEY = ("network", "seed", "rate", "steps")


def trained(parts: dict[str, tuple], key: tuple, judge: bool) -> dict:
    """Return what one training brought; only what is to be judged sees the test images."""
    network, seed, rate, steps = key
    moments = [*(10 * 2**k for k in range(20) if judge and 10 * 2**k < steps), steps]
    begin, task = time.thread_time(), (parts["train"], parts["validation"], moments)
    run = LESSON.train(MAKES[network], seed, rate, steps, *task)
    found = dict(zip(KEY, key, strict=True)) | {"validation": [*run.right.items()]}
    if judge:
        between = np.split(run.losses, moments[:-1])
        found["loss"] = [(m, float(x.mean())) for m, x in zip(moments, between, strict=True)]
        right = LESSON.right_of(run.network, *parts["test"])
        found["test_mistakes"] = (~right).nonzero().flatten().tolist()
    return found | {"cpu_seconds": round(time.thread_time() - begin, 1)}


def complete(path: Path, part: str, keys: list[tuple], parts: dict[str, tuple]) -> list[dict]:
    """Run those trainings that the file's `part` has not yet, storing each; return all of them."""
    result = json.loads(path.read_text("utf-8"))
    known = [[run[name] for name in KEY] for run in result[part]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(trained, parts, k, part == "runs") for k in keys if [*k] not in known]
        for job in as_completed(jobs):
            result[part].append(job.result())
            store(path, result)
            print(part, *(job.result()[name] for name in (*KEY, "cpu_seconds")), flush=True)
    return [run for run in result[part] if tuple(run[name] for name in KEY) in keys]


def store(path: Path, result: dict) -> None:
    """Write the file, a line for each training, so that it is the old one or the whole new one."""
    text = json.dumps(result).replace('{"network"', '\n{"network"') + "\n"
    path.with_suffix(".tmp").write_text(text, "utf-8", newline="\n")
    path.with_suffix(".tmp").replace(path)


def main(path: Path) -> None:
    """Measure what a step costs, choose the rates, and train at equal steps and at equal cost."""
    torch.set_num_threads(1)  # each training has a core of its own
    parts = LESSON.tensors_of(load_mnist("mnist"))
    if not path.exists():
        cost = LESSON.seconds_per_step(MAKES, parts["train"], rounds=50)
        begun = {"data": "MNIST", "machine": f"{os.cpu_count()} cores, {LESSON.device.upper()}"}
        begun["versions"] = {m.__name__: m.__version__ for m in (np, torch, torchvision)}
        begun["versions"]["python"] = sys.version.split()[0]
        store(path, begun | {"seconds_per_step": cost, "search": [], "runs": []})
    cost = json.loads(path.read_text("utf-8"))["seconds_per_step"]
    few, long = (round(n * cost["ResNet-18"] / cost["LeNet-5"]) for n in (FEW, STEPS))
    plan = [("ResNet-18", FEW, FEW), ("LeNet-5", FEW, FEW), ("LeNet-5", few, few)]
    plan += [("LeNet-5", STEPS, STEPS), ("ResNet-18", STEPS, EPOCH), ("LeNet-5", long, 10 * EPOCH)]
    for network, steps, shorter in plan:
        seeds, rates = SEARCH_SEEDS if steps < STEPS else SEARCH_SEEDS[:1], [*RATES]
        for length in sorted({shorter, steps}):  # the best four of the shorter go on to the longer
            keys = [(network, seed, rate, length) for seed in seeds for rate in rates]
            ends = complete(path, "search", keys, parts)
            right = {r: [e["validation"][-1][1] for e in ends if e["rate"] == r] for r in rates}
            rates = sorted(right, key=lambda rate: (-np.mean(right[rate]), rate))[:4]
        complete(path, "runs", [(network, seed, rates[0], steps) for seed in SEEDS], parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m tests.tools.long_run", None, __doc__)
    parser.add_argument("file", nargs="?", type=Path, default=RESULT)
    main(parser.parse_args().file)
