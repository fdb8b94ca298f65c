"""Choice of a model's depth and steps by trying them (Fig. 9)."""
