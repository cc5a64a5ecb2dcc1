"""The code that notebook 07 teaches: its loop, its losses, searches, remedies, and own digits."""

from io import BytesIO

import ipywidgets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from sklearn.calibration import calibration_curve
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from helpers.gradient_check import assert_gradients_close
from helpers.mnist import load_mnist
from tests.tools.notebook_tools import load_implementation

NOTEBOOK = load_implementation("07_mnist_classifiers")
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(7, 10))
LABELS = RNG.integers(10, size=7)
ONE_IMAGE = 0.011  # of 100 for validation


@pytest.fixture(scope="module")
def few():
    """300 training images and 100 for validation."""
    digits = load_mnist("digits")
    parts = {"train": (digits.train, 300), "validation": (digits.validation, 100)}
    return {
        name: tuple(values[:n] for values in NOTEBOOK.to_tensors(part, 0.2, 0.3))
        for name, (part, n) in parts.items()
    }


# ---- data, network, training


def test_the_dataset_gives_what_the_tensors_hold():
    part = load_mnist("digits").validation
    normalize = transforms.Normalize((0.2,), (0.3,))
    made = NOTEBOOK.Digits(part, transforms.Compose([transforms.ToTensor(), normalize]))
    inputs, labels = NOTEBOOK.to_tensors(part, 0.2, 0.3)
    assert len(made) == len(labels) == 297
    for index in (0, 5, 296):
        image, label = made[index]
        assert label == labels[index] and type(label) is int
        torch.testing.assert_close(image, inputs[index])
    images, found = next(iter(DataLoader(made, batch_size=297)))
    torch.testing.assert_close(images, inputs)
    assert torch.equal(found, labels)


def test_the_network_has_a_relu_after_each_layer_but_the_last():
    network = NOTEBOOK.feed_forward((5, 4))
    kinds = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in network] == kinds
    assert sum(p.numel() for p in network.parameters()) == 785 * 5 + 6 * 4 + 5 * 10


@pytest.mark.parametrize("schedule", [None, lambda done: 1 - done], ids=["constant", "falling"])
def test_learn_trains_as_the_loop_of_the_exercise_does(few, schedule):
    updates = 10  # two epochs of five batches
    history = NOTEBOOK.learn(
        NOTEBOOK.feed_forward, (3, 5), few, updates, every=5, schedule=schedule
    )
    assert [*history.snapshots] == [0, 5, 10]
    accuracies = NOTEBOOK.over_time(NOTEBOOK.feed_forward, history, few["validation"])
    judge = DataLoader(TensorDataset(*few["validation"]), batch_size=30)
    for member, seed in enumerate((3, 5)):
        torch.manual_seed(seed)
        network, order = NOTEBOOK.feed_forward(), torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
        falls = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0 if schedule else 1.0, updates)
        losses, scores = [], [NOTEBOOK.evaluate(network, judge)[1]]
        for _ in range(2):
            for rows in torch.randperm(300, generator=order).split(64):
                batch = tuple(values[rows] for values in few["train"])
                losses += NOTEBOOK.train_epoch(network, [batch], optimizer)
                falls.step()
            scores.append(NOTEBOOK.evaluate(network, judge)[1])
        np.testing.assert_allclose(history.curves["loss"][member], losses, atol=1e-3)
        np.testing.assert_allclose(accuracies[member], scores, atol=ONE_IMAGE)


def test_evaluate_is_in_evaluation_mode(few):
    network = NOTEBOOK.with_dropout(0.9).train()
    loader = DataLoader(TensorDataset(*few["validation"]), batch_size=30)
    loss, _ = NOTEBOOK.evaluate(network, loader)
    logits = network.eval()(few["validation"][0])
    assert loss == pytest.approx(F.cross_entropy(logits, few["validation"][1]).item(), rel=1e-5)


# ---- losses after a softmax


def mean_squared_error(logits, labels):
    return 10 * F.mse_loss(logits.softmax(1), F.one_hot(labels, 10).double())


def twice(logits, labels):
    return nn.CrossEntropyLoss()(nn.Softmax(dim=1)(logits), labels)


PEERS = {"cross-entropy": F.cross_entropy, "squared error": mean_squared_error}


@pytest.mark.parametrize(("loss", "peer"), [*PEERS.items(), ("softmax twice", twice)])
def test_losses_of_several_networks_equal_pytorchs(loss, peer):
    z, y = torch.tensor(LOGITS), torch.tensor(LABELS)
    found = NOTEBOOK.LOSSES[loss](torch.stack([z, -z]), y.expand(2, -1)).mean(1)
    assert found.tolist() == pytest.approx([peer(z, y).item(), peer(-z, y).item()], rel=1e-6)
    if loss != "softmax twice":
        point = {"z": LOGITS[:2]}
        total = lambda z: peer(torch.tensor(z), y[:2]).item() * 2  # noqa: E731
        gradient = NOTEBOOK.loss_gradient(z[:2], F.one_hot(y[:2], 10), loss)
        assert_gradients_close(total, point, {"z": gradient.numpy()})


# ---- searches


class Curve:
    """Made-up accuracies of a configuration, which note what is read of them."""

    def __init__(self, configuration, read):
        self.configuration, self.read = configuration, read

    def __getitem__(self, index):
        self.read.add((self.configuration, index))
        return hash((self.configuration, index)) % 1000 / 1000


@pytest.mark.parametrize("kind", ["grid search", "random search", "successive halving"])
def test_each_search_spends_its_budget_and_reads_only_what_it_pays_for(kind):
    chosen = set()
    for seed in range(20):
        read = set()
        table = {c: Curve(c, read) for c in NOTEBOOK.POINTS}
        meter = NOTEBOOK.search(kind, table, np.random.default_rng(seed))
        paid = [(configuration, done) for configuration, done, _ in meter.trace]
        assert len(paid) == len(set(paid)) == NOTEBOOK.BUDGET == 48
        assert read == set(paid)
        chosen.add(tuple(meter.trained))
    assert len(chosen) == 20  # each seed another search


def test_a_meter_continues_and_never_overspends():
    meter = NOTEBOOK.Meter({"a": [0.1, 0.5, 0.4], "b": np.linspace(0, 1, 99)})
    assert meter.train("a", 1) == 0.1 and meter.train("a", 3) == 0.4 and meter.train("a", 2) == 0.5
    assert meter.trace == [("a", 0, 0.1), ("a", 1, 0.5), ("a", 2, 0.4)]
    with pytest.raises(RuntimeError, match="budget of 48 rounds"):
        meter.train("b", 46)


def test_every_grid_is_a_grid():
    space = set(NOTEBOOK.POINTS)
    for seed in range(50):
        grid = NOTEBOOK.random_grid(np.random.default_rng(seed))
        levels = [sorted(set(values)) for values in zip(*grid, strict=True)]
        assert [len(level) for level in levels] == [3, 2, 2] and len(set(grid)) == 12
        assert space.issuperset(grid)
        assert levels[0][1] / levels[0][0] == pytest.approx(levels[0][2] / levels[0][1])


# ---- remedies, confidence


def test_shifts_move_whole_images_by_every_amount_and_bring_in_paper():
    image = torch.rand(1, 1, 28, 28) + 1  # paper is below 1
    moved = NOTEBOOK.shifted(image.expand(400, -1, -1, -1), 2, torch.Generator().manual_seed(0), 0)
    found = set()
    for picture in moved[:, 0]:
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = F.pad(image[0, 0], (2, 2, 2, 2))[2 - down : 30 - down]
                if torch.equal(picture, expected[:, 2 - right : 30 - right]):
                    found.add((down, right))
    assert len(found) == 25


def test_reliability_equals_scikit_learns():
    confidence, right = RNG.random(500), RNG.random(500) < 0.6
    share, mean = calibration_curve(right, confidence, n_bins=10)
    found = NOTEBOOK.reliability(confidence, right)
    np.testing.assert_allclose(found[:2], [mean, share])
    assert found[2].sum() == 500


# ---- one's own digit


def photo(image, kind="RGB", size=9, place=(60, 20)):
    """An image of MNIST's kind as dark ink on white paper, `size` times as large, somewhere."""
    large = Image.fromarray(255 - image).resize((28 * size,) * 2, Image.Resampling.BICUBIC)
    paper = Image.new("L", (400, 300), 255)
    paper.paste(large, place)
    if kind == "RGBA":  # ink on a transparent ground
        clear = Image.new("RGBA", paper.size, (0, 0, 0, 0))
        clear.putalpha(paper.point(lambda grey: 255 - grey))
        return clear
    return paper.point(lambda grey: 255 - grey) if kind == "inverted" else paper.convert(kind)


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA", "inverted"])
def test_a_photo_of_a_digit_comes_back_in_mnists_form(kind):
    for image in load_mnist("digits").test.images[:10]:
        found = NOTEBOOK.to_mnist_form(photo(image, kind))
        assert found.shape == (28, 28) and found.dtype == np.uint8 and found.max() > 200
        rows, columns = np.nonzero(found > 30)
        assert max(np.ptp(rows), np.ptp(columns)) in (17, 18, 19)  # 20 pixels, blurred
        for axis in (0, 1):
            centre = (found.sum(1 - axis) @ np.arange(28)) / found.sum()
            assert centre == pytest.approx(13.5, abs=0.6)
        elsewhere = NOTEBOOK.to_mnist_form(photo(image, kind, size=8, place=(130, 50)))
        assert np.corrcoef(found.ravel(), elsewhere.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_picture_is_an_error_that_says_so(grey):
    noise = np.clip(RNG.normal(grey, 4, size=(50, 60)), 0, 255).astype(np.uint8)
    with pytest.raises(ValueError, match=r"the picture is blank: .* expected 40 or more"):
        NOTEBOOK.to_mnist_form(Image.fromarray(noise))


def test_pictures_come_from_paths_and_from_both_kinds_of_upload(tmp_path):
    made, file = photo(load_mnist("digits").test.images[0]), BytesIO()
    made.save(tmp_path / "digit.png")
    made.save(file, format="JPEG")
    upload = ipywidgets.FileUpload(accept="image/*")
    entry = {"name": "digit.jpg", "content": memoryview(file.getvalue())}
    for value in ((entry,), {"digit.jpg": entry}):  # ipywidgets 8 and 7
        [content] = NOTEBOOK.contents(value)
        assert content == file.getvalue()
    assert NOTEBOOK.contents(upload.value) == []
    forms = [
        NOTEBOOK.to_mnist_form(NOTEBOOK.open_picture(s)) for s in (tmp_path / "digit.png", content)
    ]
    assert np.abs(forms[0].astype(int) - forms[1]).mean() < 5
    with pytest.raises(UnidentifiedImageError):
        NOTEBOOK.open_picture(b"no picture")
