"""Datasets, samplers, the DataLoader, and DataModules: data with its splits and what models must know of it."""

from expkit.data.arrays import ArrayData, Part, Source
from expkit.data.collate import default_collate
from expkit.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from expkit.data.loader import DataLoader
from expkit.data.module import DataModule
from expkit.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from expkit.data.transforms import Standardize

__all__ = [
    "ArrayData",
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "DataModule",
    "Dataset",
    "Part",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Source",
    "Standardize",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]
