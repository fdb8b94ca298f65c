"""The stories of the program: what one run does, step by step, readable on a screen each."""
