"""SVHN's files read right, wrong ones refused with a reason, and a stand-in that is always the same."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import torch
from torch.utils.data import DataLoader, default_collate

import q3_samplers
from experiments.wgan.classifier import accuracy, load_classifier
from experiments.wgan.data import evenly_spaced, split
from experiments.wgan.stand_in import stand_in


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {
        "X": random.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8),
        "y": random.integers(1, 11, (20, 1), dtype=np.uint8),
    }


@pytest.fixture
def mat(tmp_path, arrays):
    path = tmp_path / "some.mat"
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def test_images_and_digits_are_read_in_their_order(mat, arrays):
    photos = q3_samplers.svhn(mat)
    assert (photos.name, photos.images.dtype, photos.images.shape) == ("SVHN some", torch.uint8, (20, 3, 32, 32))
    assert photos.images[7, 2, 5, 30] == int(arrays["X"][5, 30, 2, 7])
    digits = arrays["y"].astype(np.int64).ravel() % 10
    assert photos.labels.tolist() == digits.tolist()
    content = np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1)).tobytes() + digits.tobytes()
    assert photos.digest == hashlib.sha256(content).hexdigest()


def test_scaling_reaches_both_ends():
    torch.testing.assert_close(q3_samplers.scale(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([-1.0, 1.0]))


def test_splits_are_contiguous_and_share_no_image():
    photos = stand_in(205)
    splits = split(photos)
    assert [len(part.images) for part in splits] == [165, 20, 20]
    for kind in ("images", "labels"):
        assert torch.equal(torch.cat([getattr(part, kind) for part in splits]), getattr(photos, kind))


def test_beside_a_test_file_its_images_from_10000_on_are_the_test():
    photos = stand_in(205)
    numbers = torch.arange(10_300)
    splits = split(photos, q3_samplers.Photos("test file", "", numbers, numbers))
    assert [len(part.images) for part in splits] == [185, 20, 300]
    assert torch.equal(splits.test.images, numbers[10_000:]) and torch.equal(splits.test.labels, numbers[10_000:])
    assert splits.valid.labels.tolist() == photos.labels[185:].tolist()


def test_evenly_spaced_images_are_no_more_than_there_are():
    assert evenly_spaced(torch.arange(10), 4).tolist() == [0, 2, 5, 7]
    assert evenly_spaced(torch.arange(3), 4).tolist() == [0, 1, 2]


@pytest.fixture
def published(tmp_path, mat, monkeypatch):
    """A folder where the small file goes by both published names."""
    content = mat.read_bytes()
    monkeypatch.setattr(q3_samplers, "MD5", dict.fromkeys(q3_samplers.MD5, hashlib.md5(content).hexdigest()))
    for name in q3_samplers.MD5:
        (tmp_path / name).write_bytes(content)
    return tmp_path


def check_sampler(folder):
    """The handout's contract, on 20 images: a quarter of them for validation leaves 15, two batches of 6."""
    photos = q3_samplers.svhn(folder / "train_32x32.mat")
    images, digits = q3_samplers.scale(photos.images), photos.labels.tolist()
    place = {image.numpy().tobytes(): number for number, image in enumerate(images)}
    torch.manual_seed(0)
    loaders, seen = q3_samplers.svhn_sampler(folder, train_batch_size=6, test_batch_size=8, valid_split=0.25), []
    for loader, sizes in zip(loaders, ([6, 6], [5], [8, 8, 4])):
        batches = list(loader)
        assert [(len(x), len(y)) for x, y in batches] == [(size, size) for size in sizes]
        assert len(loader) == len(sizes)
        assert all(isinstance(batch, list) for batch in batches)
        assert all((x.dtype, x.shape[1:], y.dtype) == (torch.float32, (3, 32, 32), torch.int64) for x, y in batches)
        seen.append([place[image.numpy().tobytes()] for x, _ in batches for image in x])
        assert [digit for _, y in batches for digit in y.tolist()] == [digits[number] for number in seen[-1]]
    train, valid, test = seen
    assert (sorted(valid), test) == (list(range(5)), list(range(20)))  # cut from the start of the training file
    assert set(train) <= set(range(5, 20)) and len(set(train)) == 12
    again = [place[image.numpy().tobytes()] for x, _ in loaders[0] for image in x]
    assert again != train  # another order at every epoch
    torch.manual_seed(0)
    assert torch.equal(next(iter(q3_samplers.svhn_sampler(folder, 6, 8, 0.25)[0]))[0], images[train[:6]])
    assert [len(loader.dataset) for loader in loaders] == [15, 5, 20]
    x, y = loaders[0].dataset[3]
    assert torch.equal(x, images[8]) and (y, type(y)) == (digits[8], int)
    assert len(q3_samplers.svhn_sampler(folder, 30, 8, 0.99)[1].dataset) == 19  # rounded down
    train, valid, _ = q3_samplers.svhn_sampler(folder, 6, 8)
    assert (len(train), len(train.dataset), len(valid), list(valid)) == (3, 20, 0, [])


def test_sampler_keeps_the_handouts_contract(published):
    check_sampler(published)


WRONG_LOADERS = {
    "all batches kept": {"drop_last": False},
    "last batches dropped": {"drop_last": True},
    "nothing shuffled": {"sampler": None},
    "everything shuffled": {"sampler": None, "shuffle": True},
    "batches as tuples": {"collate_fn": lambda items: tuple(default_collate(items))},
}


@pytest.mark.parametrize("options", WRONG_LOADERS.values(), ids=WRONG_LOADERS)
def test_wrong_loaders_are_rejected(published, monkeypatch, options):
    monkeypatch.setattr(q3_samplers, "DataLoader", lambda *given, **named: DataLoader(*given, **named | options))
    with pytest.raises(AssertionError):
        check_sampler(published)


@pytest.mark.parametrize("valid_split", [-0.1, 1, float("nan")])
def test_valid_split_must_be_a_fraction(published, valid_split):
    with pytest.raises(
        ValueError, match=r"valid_split is a fraction of the training file, at least 0 and below 1, not"
    ):
        q3_samplers.svhn_sampler(published, 6, 8, valid_split)


def test_missing_file_is_one_line_that_says_where_to_get_it(published):
    (published / "test_32x32.mat").unlink()
    with pytest.raises(FileNotFoundError) as error:
        q3_samplers.svhn_sampler(published, 6, 8)
    message = str(error.value)
    assert str(published / "svhn") in message and "\n" not in message
    assert f"{q3_samplers.ADDRESSES[0]}test_32x32.mat" in message and "train_32x32.mat" not in message


def test_damaged_files_are_refused_in_one_line(mat):
    """Cut anywhere, empty too, or another thing altogether."""
    content = mat.read_bytes()
    for damaged in (
        b"<html><body>moved</body></html>" * 20,
        *(content[:length] for length in range(0, len(content), 2999)),
    ):
        mat.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"some\.mat is (damaged or no MATLAB file|not of SVHN's form)") as error:
            q3_samplers.svhn(mat)
        assert "\n" not in str(error.value)


FOREIGN = {
    "other keys": (
        lambda a: {"images": a["X"], "labels": a["y"]},
        r"holds images uint8 \(32, 32, 3, 20\), labels uint8",
    ),
    "another size": (lambda a: {**a, "X": a["X"][:28, :28]}, r"holds X uint8 \(28, 28, 3, 20\)"),
    "fewer digits than images": (lambda a: {**a, "y": a["y"][:-1]}, r"y uint8 \(19, 1\)"),
    "digits to 11": (lambda a: {**a, "y": a["y"] // 10 + a["y"]}, r"from 1 to 10 .* from \d to 11$"),
    "digits from 0 to 9": (
        lambda a: {**a, "y": a["y"] % 10},
        r"from 1 to 10 \(10 for the digit 0\), but .* from 0 to 9$",
    ),
}


@pytest.mark.parametrize(("foreign", "message"), FOREIGN.values(), ids=FOREIGN)
def test_files_of_another_form_are_refused_for_what_they_hold(tmp_path, arrays, foreign, message):
    scipy.io.savemat(tmp_path / "some.mat", foreign(arrays))
    with pytest.raises(ValueError, match=f"is not of SVHN's form, .*{message}"):
        q3_samplers.svhn(tmp_path / "some.mat")


def test_a_file_of_version_7_3_is_to_be_saved_anew(tmp_path):
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "some.mat").write_bytes(head.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(ValueError, match=r"is a MATLAB file of version 7\.3; save it as version 7"):
        q3_samplers.svhn(tmp_path / "some.mat")


def test_published_name_demands_the_published_contents(mat):
    path = mat.rename(mat.with_name("train_32x32.mat"))
    with pytest.raises(ValueError, match=r"train_32x32\.mat is not the published file"):
        q3_samplers.svhn(path)


def test_stand_in_is_the_same_bytes_at_every_call_and_everywhere():
    photos = stand_in(8)
    assert photos.digest == stand_in(8).digest != stand_in(8, seed=1).digest
    assert photos.digest == "4f8e20d80a36d25e8af52f0aabcce236c6850cc0e812e8a060a6bef7fc8724c6"
    assert (photos.name, photos.images.dtype, photos.images.shape) == ("svhn-stand-in", torch.uint8, (8, 3, 32, 32))


def test_digits_of_the_stand_in_can_be_read():
    """By the judge classifier, which was trained on photographs."""
    photos = stand_in(300)
    assert photos.labels.unique().tolist() == list(range(10))
    assert accuracy(load_classifier()[0], photos) > 0.85


def test_samplers_and_stand_in_need_no_fonts_and_no_plotting():
    code = (
        "import sys, experiments.wgan.stand_in as s; print('q3_samplers' in sys.modules, 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True False\n"
