"""Convolutions: Winograd, direct, and by lanes over channels; all on images with their channels innermost."""
