"""Settings of steps that load torch or numpy, as planning writes them: the JSON of `--spec` or `--settings`.

Other steps have their settings in their own file. These are separate because planning imports them, and planning must
not load torch.
"""
