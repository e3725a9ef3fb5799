"""Models of buying, fitted by maximum likelihood: arrays in, arrays out. Nothing here reads a file or a clock."""
