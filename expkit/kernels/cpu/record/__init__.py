"""Programs of kernel calls: recorded once, with their memory planned, and replayed by one call."""
