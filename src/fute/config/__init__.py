"""What a run consists of: its settings (`settings`, with `lm` and `recipes`), and how files become them (`run`)."""
