"""What a batch process is told to make, as planning writes it: the JSON of `--spec`.

These settings stand apart from the steps that read them because planning imports them, and the steps load torch.
"""
