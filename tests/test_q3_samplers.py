"""SVHN's files read right, wrong ones refused with a reason, and a stand-in that is always the same."""

import hashlib

import numpy as np
import pytest
import scipy.io
import torch

import q3_samplers


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {"X": random.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8), "y": random.integers(1, 11, (20, 1), dtype=np.uint8)}


@pytest.fixture
def mat(tmp_path, arrays):
    path = tmp_path / "some.mat"
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def test_images_and_digits_are_read_in_their_order(mat, arrays):
    photos = q3_samplers.svhn(mat)
    assert (photos.name, photos.images.dtype, photos.images.shape) == ("SVHN some", torch.uint8, (20, 3, 32, 32))
    assert photos.images[7, 2, 5, 30] == int(arrays["X"][5, 30, 2, 7])
    assert photos.labels.tolist() == [digit % 10 for digit in arrays["y"].ravel().tolist()]


def test_scaling_reaches_both_ends():
    torch.testing.assert_close(q3_samplers.scale(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([-1.0, 1.0]))


def test_blocks_are_contiguous_and_share_no_image():
    photos = q3_samplers.stand_in(205)
    blocks = q3_samplers.in_blocks(photos)
    assert [len(block.images) for block in blocks] == [165, 20, 20]
    assert torch.equal(torch.cat([block.images for block in blocks]), photos.images)
    assert torch.equal(torch.cat([block.labels for block in blocks]), photos.labels)
    assert len({block.digest for block in blocks}) == 3
    published = q3_samplers.in_blocks(photos, photos._replace(name="test file"))
    assert [len(block.images) for block in published] == [185, 20, 205]
    assert published.test.name == "test file"


def test_spread_is_even_and_takes_no_more_than_there_are():
    assert q3_samplers.spread(torch.arange(10), 4).tolist() == [0, 2, 5, 7]
    assert q3_samplers.spread(torch.arange(3), 4).tolist() == [0, 1, 2]


def test_loaders_give_every_image_once(tmp_path, mat, arrays, monkeypatch):
    content = mat.read_bytes()
    monkeypatch.setattr(q3_samplers, "MD5", dict.fromkeys(q3_samplers.MD5, hashlib.md5(content).hexdigest()))
    for name in q3_samplers.MD5:
        (tmp_path / name).write_bytes(content)
    train, valid, test = q3_samplers.svhn_sampler(tmp_path, 6, 8, valid_split=0.25)
    assert [len(loader) for loader in (train, valid, test)] == [3, 1, 3]
    batches = list(train)
    assert [len(images) for images, _ in batches] == [6, 6, 3]
    assert all(images.dtype == torch.float32 and images.abs().max() <= 1 for images, _ in batches)
    expected = sorted((q3_samplers.scale(torch.from_numpy(arrays["X"]).permute(3, 2, 0, 1))[:15]).sum((1, 2, 3)).tolist())
    assert sorted(torch.cat([images for images, _ in batches]).sum((1, 2, 3)).tolist()) == pytest.approx(expected, abs=1e-3)
    assert torch.cat([labels for _, labels in test]).tolist() == (arrays["y"].ravel() % 10).tolist()
    assert list(q3_samplers.svhn_sampler(tmp_path, 6, 8)[1]) == []


def test_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train_32x32\.mat"):
        q3_samplers.svhn_sampler(tmp_path, 1, 1)


def flipped(content):
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "one bit flipped": flipped,
    "a web page": lambda content: b"<html><body>moved</body></html>" * 20,
    "header only": lambda content: content[:128],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_refused_in_one_line(mat, damage):
    mat.write_bytes(damage(mat.read_bytes()))
    with pytest.raises(ValueError, match=r"some\.mat is (damaged or no MATLAB file|not of SVHN's form)") as error:
        q3_samplers.svhn(mat)
    assert "\n" not in str(error.value)


def test_truncation_anywhere_is_refused(mat):
    content = mat.read_bytes()
    for length in range(0, len(content) - 1, 997):
        mat.write_bytes(content[:length])
        with pytest.raises(ValueError, match="some"):
            q3_samplers.svhn(mat)


FOREIGN = {
    "other keys": lambda a: {"images": a["X"], "labels": a["y"]},
    "no digits": lambda a: {"X": a["X"]},
    "another type": lambda a: {**a, "X": a["X"].astype(float)},
    "another size": lambda a: {**a, "X": a["X"][:28, :28]},
    "fewer digits than images": lambda a: {**a, "y": a["y"][:-1]},
    "digits out of range": lambda a: {**a, "y": a["y"] - 1},
    "text": lambda a: {**a, "y": "0123"},
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_files_of_another_form_are_refused(tmp_path, arrays, foreign):
    scipy.io.savemat(tmp_path / "some.mat", foreign(arrays))
    with pytest.raises(ValueError, match="is not of SVHN's form"):
        q3_samplers.svhn(tmp_path / "some.mat")


def test_published_name_demands_the_published_contents(mat):
    path = mat.rename(mat.with_name("train_32x32.mat"))
    with pytest.raises(ValueError, match=r"train_32x32\.mat is not the published file"):
        q3_samplers.svhn(path)


def test_stand_in_is_seeded_and_plausible():
    photos = q3_samplers.stand_in(200)
    assert photos.digest == q3_samplers.stand_in(200).digest != q3_samplers.stand_in(200, seed=1).digest
    assert (photos.name, photos.images.dtype, photos.images.shape) == ("svhn-stand-in", torch.uint8, (200, 3, 32, 32))
    assert photos.labels.unique().tolist() == list(range(10))
    grey = q3_samplers.scale(photos.images).mean(1)
    middle, edge = grey[:, 8:24, 8:24].std((1, 2)), grey[:, :, 0].std(1)
    assert (middle > 0.05).all()  # something is written on every picture
    assert middle.mean() > edge.mean()
