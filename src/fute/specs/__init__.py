"""What a step that loads torch or numpy is told to make, as planning writes it: the JSON of `--spec` or `--settings`.

Other steps have their settings in their own file. These stand apart because planning imports them, and it must not
load torch.
"""
