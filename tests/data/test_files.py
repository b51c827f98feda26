"""Files of one's own, csv and npz: what is understood, and for what is not a message that says where."""

import re

import numpy as np
import pytest

from expkit.errors import DataError
from expkit.registry import build

GOOD = "a,b,kind\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n9,1,x\n2,2,y\n"


def csv(text, **arguments):
    """The DataModule of a CSV file with this text (bytes are written as they are); unsplit and unscaled."""
    plain = {"path": "t.csv", "val_fraction": 0.0, "test_fraction": 0.0, "normalize": False}
    with open("t.csv", "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return build("data", {"name": "csv", **plain, **arguments})


def npz(arguments=(), **arrays):
    plain = {"path": "t.npz", "val_fraction": 0.0, "test_fraction": 0.0, "normalize": False}
    np.savez("t.npz", **arrays)
    return build("data", {"name": "npz", **plain, **dict(arguments)})


def samples(module):
    x, y = module.train.tensors
    return x.tolist(), y.tolist()


@pytest.fixture(autouse=True)
def _empty_folder(workdir):
    pass


# ---------------------------------------------------------------------- what is understood

X, Y = [[1, 2], [3, 4], [5, 6]], [0, 1, 0]
FORMS = {
    "header": "a,b,t\n1,2,0\n3,4,1\n5,6,0\n",
    "no header": "1,2,0\n3,4,1\n5,6,0\n",
    "semicolons": "1;2;0\n3;4;1\n5;6;0\n",
    "tabs and no newline at the end": "1\t2\t0\n3\t4\t1\n5\t6\t0",
    "a byte order mark, blank lines, carriage returns": "\ufeffa,b,t\r\n\r\n1,2,0\r\n3,4,1\r\n\r\n5,6,0\r\n",
    "spaces": " a , b , t\n 1 , 2 , 0\n3, 4, 1\n5, 6, 0\n",
    "quotes": '"a","b, or c","t"\n"1","2","0"\n3,4,1\n5,6,0\n',
    "exponents and signs": "+1e0,20e-1,0\n3.,4.0,1\n5,.6e1,0\n",
    "labels of text": "a,b,t\n1,2,no\n3,4,yes\n5,6,no\n",
    "labels as floats": "1,2,-1.0\n3,4,2\n5,6,-1\n",
    "numbers as names of columns": "1,2,t\n1,2,no\n3,4,yes\n5,6,no\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_csv_files(form):
    header = {"header": True} if form.startswith("numbers") else {}
    module = csv(FORMS[form], task="classification", **header)
    assert samples(module) == (X, Y)


CHOICES = [
    ({"target": "b"}, [[1, 9], [3, 8]], ["2", "4"], ["a", "c"]),
    ({"target": 0}, [[2, 9], [4, 8]], ["1", "3"], ["b", "c"]),
    ({"target": -1}, [[1, 2], [3, 4]], ["8", "9"], ["a", "b"]),
    ({"target": "c", "columns": ["b"]}, [[2], [4]], ["8", "9"], ["b"]),
    ({"target": "a", "columns": [2, "b"]}, [[9, 2], [8, 4]], ["1", "3"], ["c", "b"]),
]


@pytest.mark.parametrize(("arguments", "x", "classes", "features"), CHOICES)
def test_columns_are_chosen_by_name_or_number(arguments, x, classes, features):
    module = csv("a,b,c\n1,2,9\n3,4,8\n", task="classification", **arguments)
    assert samples(module)[0] == x
    assert (module.class_names, module.feature_names) == (classes, features)


TARGETS = [
    ("text", ["x", "y"] * 5, "classification", ["x", "y"]),
    ("few whole numbers", [3, 10, 3, 2] * 3, "classification", ["2", "3", "10"]),
    ("fractions", [0.5, 1.5] * 5, "regression", None),
    ("many whole numbers", list(range(30)), "regression", None),
    ("true and false", ["true", "false"] * 5, "classification", ["false", "true"]),
]


@pytest.mark.parametrize(("targets", "task", "classes"), [row[1:] for row in TARGETS], ids=[row[0] for row in TARGETS])
def test_the_task_is_found_out(targets, task, classes):
    module = csv("a,t\n" + "".join(f"{n},{value}\n" for n, value in enumerate(targets)))
    assert (module.task, module.class_names) == (task, classes)
    arrays = npz(x=np.zeros((len(targets), 2)), y=np.array(targets))
    assert (arrays.task, arrays.class_names) == (task, classes)


def test_the_task_can_be_said():
    whole = "".join(f"{n},{n % 3}\n" for n in range(12))
    assert csv(whole).task == "classification"
    module = csv(whole, task="regression")
    assert (module.task, module.train.tensors[1].shape) == ("regression", (12, 1))


def test_parts_in_files_of_their_own():
    for name, rows in (("val.csv", "a,b,kind\n1,1,y\n"), ("test.csv", "kind,b,a\ny,8,9\nx,6,7\n")):
        with open(name, "w") as file:
            file.write(rows)
    module = csv(GOOD, target="kind", columns=["a", "b"], val_path="val.csv", test_path="test.csv", val_fraction=0.5)
    assert [len(part) for part in (module.train, module.val, module.test)] == [6, 1, 2]
    assert [tensor.tolist() for tensor in module.test.tensors] == [[[9, 8], [7, 6]], [1, 0]]
    np.savez("test.npz", x=np.ones((2, 2)), y=np.array([5, 7]))
    module = npz({"test_path": "test.npz"}, x=np.zeros((8, 2)), y=np.array([7, 5] * 4))
    assert (len(module.train), module.test.tensors[1].tolist()) == (8, [0, 1])


ARRAYS = {
    "vectors": (np.zeros((8, 3)), (3,)),
    "images": (np.zeros((8, 1, 4, 4), np.uint8), (1, 4, 4)),
    "one feature": (np.zeros(8), (1,)),
    "half": (np.zeros((8, 2), np.float16), (2,)),
    "bools": (np.zeros((8, 2), bool), (2,)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_samples(kind):
    x, shape = ARRAYS[kind]
    assert npz(x=x, y=np.arange(8) % 2).input_shape == shape


def test_arrays_of_targets():
    x = np.zeros((8, 2))
    assert npz(x=x, y=np.zeros((8, 3))).derived["output_size"] == 3
    assert npz(x=x, y=np.array([b"n", b"p"] * 4)).class_names == ["n", "p"]
    assert npz(x=x, y=(np.arange(8) % 2).reshape(8, 1)).class_names == ["0", "1"]
    assert npz({"x": "pixels", "y": "label"}, pixels=x, label=np.arange(8) % 2).num_classes == 2


# ---------------------------------------------------------------------- what is not

# what is wrong: (text of the file, arguments, parts of the message)
BAD_CSV = {
    "an empty file": ("", {}, "t.csv is empty"),
    "blank lines": ("\n \n", {}, "only empty lines"),
    "a header alone": ("a,b\n", {}, "no lines of data"),
    "a short line": ("a,b,t\n1,2,x\n3,4\n", {}, "t.csv: line 3 has 2 cells, line 1 has 3"),
    "a long line": ("1,2,x\n1,2,3,x\n", {}, "line 2 has 4 cells"),
    "a word among numbers": ("a,b,t\n1,2,x\n3,oops,y\n", {}, "t.csv: line 3, column 'b': 'oops' is not a number."),
    "a word without header": ("1,2,x\n3,oops,y\n", {}, "line 2, column 1: 'oops'"),
    "a word after a cell of two lines": ('a,b,t\n1,2,"x\ny"\noops,2,z\n', {}, "line 4, column 'a': 'oops'"),
    "an empty cell": ("a,b,t\n1,,x\n2,3,y\n", {}, "line 2, column 'b': '' is empty"),
    "an empty target": ("a,t\n1,x\n2,\n", {}, "line 3, column 't': '' is empty"),
    "nan": ("a,t\n1,x\nnan,y\n", {}, "line 3, column 'a': 'nan' is not finite"),
    "infinity": ("a,t\n1,x\n-inf,y\n", {}, "line 3, column 'a': '-inf' is not finite"),
    "nan as a target": ("a,t\n1,0.5\n2,nan\n", {"task": "regression"}, "column 't': 'nan' is not finite"),
    "a slip in numeric targets": ("a,t\n1,0.5\n2,0.7\n3,O.8\n", {}, "line 4, column 't': 'O.8' is not a number"),
    "text to regress on": (GOOD, {"task": "regression"}, "column 'kind': 'x' is not a number. Put a number there, or"),
    "one class": ("a,t\n1,x\n2,x\n", {}, "column 't' is 'x' throughout"),
    "no such target": (GOOD, {"target": "kinds"}, "no column 'kinds' (target). Did you mean 'kind'?"),
    "no such number": (GOOD, {"target": 3}, "no column 3 (target)"),
    "a name without header": ("1,2,x\n3,4,y\n", {"target": "kind"}, "the file has no header"),
    "no such input": (GOOD, {"columns": ["a", "B"]}, "no column 'B' (in columns).|Columns: a, b, kind"),
    "the target as input": (GOOD, {"columns": ["a", "kind"]}, "column 'kind' is the target"),
    "nothing but the target": ("t\nx\ny\n", {}, "no column is left as input"),
    "two columns of one name": ("a,a,t\n1,2,x\n3,4,y\n", {}, "two columns are called 'a'"),
    "perhaps a header": ("1,b,t\n1,2,x\n3,4,y\n", {}, "'b' stands above a number|header=true"),
    "an open quote": ('a,t\n1,"x\n2,y\n', {}, "t.csv: line 3: unexpected end of data"),
    "another encoding": ("a,t\n1,Käse\n2,y\n".encode("latin-1"), {}, "byte 7 (0xe4) is not UTF-8"),
    "a strange delimiter": (GOOD, {"delimiter": "ab"}, "delimiter='ab'"),
    "the wrong delimiter": (GOOD, {"delimiter": ";"}, "no column is left as input"),
    "no file": (GOOD, {"path": "tt.csv"}, "tt.csv: there is no such file. Did you mean 't.csv'"),
    "no folder": (GOOD, {"path": "data/t.csv"}, "data does not exist either"),
    "a folder": (GOOD, {"path": "."}, "is a folder"),
    "no file to test on": (GOOD, {"test_path": "x.csv"}, "x.csv: there is no such file"),
    "a class to test on that is new": (
        GOOD,
        {"test_path": "other.csv"},
        "other.csv: line 3, column 'kind': the class 'z'",
    ),
    "other columns to test on": (
        GOOD,
        {"test_path": "wide.csv"},
        "the inputs are column 'a', column 'b', column 'c'; in",
    ),
}
BAD_NPZ = {
    "no such array": ({"x": X, "targets": Y}, {}, "no array 'y'.|Arrays: x, targets"),
    "a close name": ({"x": X, "label": Y}, {"y": "lable"}, "Did you mean 'label'?"),
    "objects": ({"x": X, "y": np.array([[1], [1, 2], None], object)}, {}, "'y' is an object array"),
    "other lengths": ({"x": X, "y": Y[:2]}, {}, "x has shape (3, 2) and y (2,)"),
    "a single number": ({"x": X, "y": 1}, {}, "and y ()"),
    "no samples": ({"x": np.zeros((0, 2)), "y": []}, {}, "there are no samples"),
    "text as samples": ({"x": [["a"], ["b"]], "y": [0, 1]}, {}, "x holds <U1; samples must be numbers"),
    "complex samples": ({"x": np.zeros((2, 2), complex), "y": [0, 1]}, {}, "x holds complex128"),
    "nan": ({"x": [[1, 2], [3, np.nan], [np.inf, 1]], "y": Y}, {}, "x[1, 1] is nan; 2 values in all"),
    "nan as a target": ({"x": X, "y": [0.5, 0.1, np.nan]}, {}, "y[2] is nan"),
    "nan as a class": ({"x": X, "y": [0, 1, np.nan]}, {"task": "classification"}, "y[2] is nan"),
    "one-hot classes": ({"x": X, "y": np.eye(3)}, {"task": "classification"}, "One-hot rows: store their argmax"),
    "text to regress on": ({"x": X, "y": ["a", "b", "c"]}, {"task": "regression"}, "a regression needs numbers"),
    "targets that are matrices": ({"x": X, "y": np.zeros((3, 2, 2))}, {}, "needs (n,) or (n, k)"),
    "one class": ({"x": X, "y": [1, 1, 1]}, {}, "y is '1' for every sample"),
    "no file": ({"x": X, "y": Y}, {"path": "t.npy"}, "t.npy: there is no such file. Did you mean 't.npz'?"),
    "other samples to test on": ({"x": X, "y": Y}, {"test_path": "other.npz"}, "a sample has shape (5,); in"),
}


def complain(make, message):
    with pytest.raises(DataError) as caught:
        make()
    for part in message.split("|"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("text", "arguments", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_files(text, arguments, message):
    for name, rows in (("other.csv", "a,b,kind\n1,2,x\n1,2,z\n"), ("wide.csv", "a,b,c,kind\n1,2,3,x\n")):
        with open(name, "w") as file:
            file.write(rows)
    complain(lambda: csv(text, **arguments), message)


@pytest.mark.parametrize(("arrays", "arguments", "message"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz_files(arrays, arguments, message):
    np.savez("other.npz", x=np.zeros((2, 5)), y=np.array([0, 1]))
    complain(lambda: npz({"task": "auto", **arguments}, **arrays), message)


def spoiled(how):
    np.savez_compressed("t.npz", x=np.random.default_rng(0).normal(size=(50, 4)), y=np.arange(50) % 2)
    with open("t.npz", "rb") as file:
        content = file.read()
    with open("t.npz", "wb") as file:
        file.write(how(content))
    build("data", {"name": "npz", "path": "t.npz"})


SPOILED = {
    "cut short": (lambda b: b[: len(b) // 2], "not an .npz file, or cut short"),
    "a flipped bit": (lambda b: b[:500] + bytes([b[500] ^ 8]) + b[501:], "t.npz is damaged"),
    "zeros in the middle": (lambda b: b[:200] + bytes(600) + b[800:], "t.npz is damaged"),
    "empty": (lambda b: b"", "is empty"),
    "text": (lambda b: b"a,b\n1,2\n", "not an .npz file"),
}


@pytest.mark.parametrize(("how", "message"), SPOILED.values(), ids=SPOILED)
def test_damaged_npz_files(how, message):
    complain(lambda: spoiled(how), message)


def test_an_array_on_its_own_is_no_npz_file():
    with open("t.npz", "wb") as file:
        np.save(file, np.zeros((4, 2)))
    complain(lambda: build("data", {"name": "npz", "path": "t.npz"}), r"numpy.savez(path, x=..., y=...)")


def test_every_byte_of_a_small_file_may_be_wrong():
    """Whatever a damaged file does, it is a DataError, or data that passed the checksums."""
    np.savez("t.npz", x=np.zeros((4, 1)), y=np.array([0, 1, 0, 1]))
    with open("t.npz", "rb") as file:
        content = file.read()
    refused = 0
    for place in range(0, len(content), 3):
        with open("u.npz", "wb") as file:
            file.write(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            build("data", {"name": "npz", "path": "u.npz", "val_fraction": 0.0})
        except DataError:
            refused += 1
    assert refused > len(content) / 3 / 3


def test_the_message_of_a_long_value_is_short():
    with pytest.raises(DataError) as caught:
        csv(f"a,t\n{'x' * 500},p\n1,q\n", header=True)
    assert re.search(r"'x{57}\.\.\.'", str(caught.value))
