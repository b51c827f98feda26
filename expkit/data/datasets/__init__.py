"""The registered datasets: each is a DataModule, chosen by `data=NAME`."""

from expkit.data.datasets.bundled import BreastCancer, Diabetes, Digits, Iris, Wine
from expkit.data.datasets.csvfile import CsvFile
from expkit.data.datasets.npzfile import NpzFile
from expkit.data.datasets.synthetic import Synthetic

__all__ = ["BreastCancer", "CsvFile", "Diabetes", "Digits", "Iris", "NpzFile", "Synthetic", "Wine"]
