"""Write the generated sets below data/, in the layout that helpers/datasets.py documents.

``python -m tests.tools.write_data [FOLDER]`` writes below FOLDER instead.
"""

import argparse
from pathlib import Path

import numpy as np

from helpers.datasets import DATA_FOLDER, generate_random
from tests.tools.notebook_tools import load_implementation


def write_sets(folder: Path) -> list[Path]:
    """Generate the three sets with seed 0, write them below `folder`, return the files' paths."""
    paths, lesson = [], load_implementation("04_convolutional_network")
    for image_set in (generate_random(), lesson.generate_line(), lesson.generate_detection()):
        arrays = {"imgs": image_set.images, "labs": image_set.labels, "width": image_set.widths}
        (folder / image_set.name).mkdir(parents=True, exist_ok=True)
        for suffix, array in arrays.items():
            if array is not None:
                paths.append(folder / image_set.name / f"{image_set.name}_{suffix}.npy")
                np.save(paths[-1], array, allow_pickle=False)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.tools.write_data")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA_FOLDER)
    for path in write_sets(parser.parse_args().folder):
        array = np.load(path, allow_pickle=False)
        print(f"{path}: shape {array.shape}, dtype {array.dtype}")
