"""The home's battery: the plan's recourse in real time, within limits, and who may overrule it."""
