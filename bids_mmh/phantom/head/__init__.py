"""A subject of the phantom: tissue maps, organs and shape of one head."""
