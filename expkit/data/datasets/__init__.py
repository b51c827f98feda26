"""The registered datasets: each is a DataModule, chosen by `data=NAME`."""

from expkit.data.datasets.bundled import BreastCancer, Diabetes, Digits, Iris, Wine
from expkit.data.datasets.csvfile import CsvFile
from expkit.data.datasets.npzfile import NpzFile
from expkit.data.datasets.pystdlib import PyStdlib
from expkit.data.datasets.shapes import Shapes
from expkit.data.datasets.synthetic import Synthetic
from expkit.data.datasets.text import TextFile

__all__ = ["BreastCancer", "CsvFile", "Diabetes", "Digits", "Iris", "NpzFile", "PyStdlib", "Shapes", "Synthetic",
           "TextFile", "Wine"]  # fmt: skip
