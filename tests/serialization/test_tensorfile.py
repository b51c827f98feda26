"""safetensors files: what is written can be read (also by the safetensors package), what is malformed is refused."""

import json
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from expkit.errors import CheckpointError
from expkit.serialization import tensorfile

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(1.5),
    "empty": np.zeros((0, 4), np.int64),
    "mask": np.array([True, False, True]),
    "half": np.array([1, 2, 3], ml_dtypes.bfloat16),
    "bytes": np.arange(5, dtype=np.uint8),
    "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "big-endian": np.arange(3, dtype=">f8"),
}


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].shape == array.shape
        assert got[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got[name], array)


def test_what_is_written_is_read_again():
    got = tensorfile.load(tensorfile.dump(ARRAYS), "x")
    assert_same(got, ARRAYS)
    got["weight"][0] = 7  # the arrays are their own memory


def test_the_same_arrays_give_the_same_bytes():
    assert tensorfile.dump(ARRAYS) == tensorfile.dump(dict(reversed(ARRAYS.items())))


def test_the_safetensors_package_reads_our_files_and_we_read_its(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    known = {name: array for name, array in ARRAYS.items() if name != "half"}
    assert_same(package.load(tensorfile.dump(known)), known)
    theirs = {name: np.array(array, array.dtype.newbyteorder("="), order="C") for name, array in known.items()}
    assert_same(tensorfile.load(package.save(theirs, {"made by": "another"}), "x"), known)


@pytest.mark.parametrize("dtype", ["complex128", "U3", "O", "datetime64[s]"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(CheckpointError, match=r"'a': dtype .* cannot be stored"):
        tensorfile.dump({"a": np.zeros(2, dtype)})


def with_header(header: object, body: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


MALFORMED = {
    "empty file": (b"", "has 0 bytes"),
    "no header": (bytes(7), "has 7 bytes"),
    "header longer than the file": ((100).to_bytes(8, "little") + b"{}", "claims a header of 100 bytes"),
    "header beyond the limit": ((1 << 40).to_bytes(8, "little") + b"{}", "claims a header of"),
    "not JSON": (with_header(b"{{}"), "not JSON"),
    "not UTF-8": (with_header(b'{"\xff": 1}'), "not JSON"),
    "nested too deep": (with_header(b"[" * 200_000), "not JSON"),
    "a list": (with_header([]), "not a JSON object"),
    "duplicate name": (
        with_header(b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2)), "names 'a' twice"),
    "metadata of numbers": (with_header({"__metadata__": {"a": 1}, "a": entry()}), "__metadata__"),
    "other keys": (with_header({"a": {**entry(), "more": 1}}), "something else than dtype"),
    "no object": (with_header({"a": 3}), "something else than dtype"),
    "unknown dtype": (with_header({"a": entry(dtype="F31")}), "unknown dtype 'F31'"),
    "dtype no string": (with_header({"a": entry(dtype=["F32"])}), "unknown dtype"),
    "negative shape": (with_header({"a": entry(shape=(-2,))}), "impossible shape"),
    "shape of booleans": (with_header({"a": entry(shape=(True, 2))}), "impossible shape"),
    "shape of floats": (with_header({"a": entry(shape=(2.0,))}), "impossible shape"),
    "rank": (with_header({"a": entry(shape=[1] * 33 + [2])}), "rank 34"),
    "overflowing shape": (with_header({"a": entry(shape=(2**31, 2**31, 2**2))}), "does not fit"),
    "too large": (with_header({"a": entry(shape=(2**61,), offsets=(0, 2**61))}), "does not fit"),
    "offsets beyond the end": (with_header({"a": entry(shape=(4,), offsets=(0, 16))}), "does not fit"),
    "offsets that do not match the shape": (with_header({"a": entry(offsets=(0, 4))}), "does not fit"),
    "backward offsets": (with_header({"a": entry(offsets=(8, 0))}), "does not fit"),
    "negative offsets": (with_header({"a": entry(offsets=(-8, 0))}), "impossible data_offsets"),
    "one offset": (with_header({"a": entry(offsets=(8,))}), "impossible data_offsets"),
    "overlap": (with_header({"a": entry(), "b": entry()}), "overlapping"),
    "hole": (with_header({"a": entry(offsets=(8, 16))}, bytes(16)), "a hole"),
    "trailing bytes": (with_header({"a": entry()}, bytes(9)), "1 bytes after its last tensor"),
    "BOOL of 2": (with_header({"a": entry("BOOL", (8,))}, b"\x02" + bytes(7)), "other than 0 and 1"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "said"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_files_are_refused(data, said):
    with pytest.raises(CheckpointError) as caught:
        tensorfile.load(data, "some/file")
    assert said in str(caught.value)
    assert "some/file" in str(caught.value)


def test_too_many_tensors(monkeypatch):
    monkeypatch.setattr(tensorfile, "MAX_TENSORS", 2)
    with pytest.raises(CheckpointError, match="has 3 tensors"):
        tensorfile.dump({name: np.zeros(1) for name in "abc"})


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[1:]])
def test_every_damage_of_a_good_file_is_found(damage: Callable[[bytes], bytes]):
    with pytest.raises(CheckpointError):
        tensorfile.load(damage(tensorfile.dump(ARRAYS)), "x")
