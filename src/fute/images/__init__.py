"""Container images: the ones a machine has (`lock`), what they are built from (`inputs`), and `fute images`."""
