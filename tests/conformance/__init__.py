"""PyTorch's own test data (its operator, module and optimizer databases, which its wheel carries) run against expkit.

    python -m tests.conformance --only abs,fft.fft --checks value,grad --dtypes float64
    python -m tests.conformance --modules --only nn.Linear
    python -m tests.conformance --optimizers

prints a line for each name and check with what failed. `test_*.py` run a part of the same data in the test suite.
"""
